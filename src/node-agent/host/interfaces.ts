import { networkInterfaces } from "node:os";
import { z } from "zod";
import type { RunCommand } from "./command.ts";

/** IPv4 addresses of one network interface of this node. */
export interface HostInterface {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** All interfaces but loopback that have IPv4 addresses; `ignored` names those that are made for guests. */
export const hostInterfaces = (ignored: (name: string) => boolean): readonly HostInterface[] =>
  Object.entries(networkInterfaces())
    .filter(([name]) => !ignored(name))
    .map(([name, entries]) => ({
      name,
      addresses: (entries ?? [])
        .filter(({ family, internal }) => family === "IPv4" && !internal)
        .map(({ address }) => address),
    }))
    .filter(({ addresses }) => addresses.length > 0);

const route = z.object({ dev: z.string().optional(), prefsrc: z.string().optional() });

/** Where the node's default route leads, and the address that it says to use; both undefined without one. */
export type DefaultRoute = z.output<typeof route>;

const TIMEOUT_MS = 10_000;

export const readDefaultRoute = async (run: RunCommand, signal: AbortSignal): Promise<DefaultRoute> => {
  const { stdout } = await run("ip", ["-json", "-4", "route", "show", "default"], {
    signal,
    timeoutMs: TIMEOUT_MS,
  });
  const [first] = z.array(route).parse(stdout.trim() === "" ? [] : JSON.parse(stdout));
  return first ?? {};
};
