import { once } from "node:events";
import { connect } from "node:net";
import { type Duplex, Readable } from "node:stream";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import { withDeadline } from "../../../kube/index.ts";
import type { Consoles } from "../../consoles/index.ts";
import { type PlacedMachine, placed } from "../../desired.ts";
import { type Domains, GuestOffError, type GuestSockets, type LiveDomains } from "../../domains/index.ts";
import type { OpenGuestPort } from "./guest-port.ts";
import { type GuestRequests, RequestRefusedError } from "./guest-requests.ts";
import type { GuestRequest } from "./lifecycle.ts";
import { tapName } from "../../links/index.ts";
import { type GuestCall, guestProblems, type GuestServices } from "../../server/index.ts";

export interface GuestServicesOptions {
  readonly machines: { get(uid: string): VirtualMachine | undefined };
  readonly requests: GuestRequests;
  readonly domains: Pick<Domains, "readConsoleLog">;
  readonly live: Pick<LiveDomains, "sockets" | "screenshot">;
  readonly consoles: Consoles;
  readonly openGuestPort: OpenGuestPort;
}

/** How long a request may wait for the next pass over its machine, in ms. */
const REQUEST_MS = 25_000;

/** What the api-server may ask of this node's guests. */
export const createGuestServices = (options: GuestServicesOptions): GuestServices => {
  const { machines, requests, domains, live, consoles, openGuestPort } = options;

  const require = (uid: string): PlacedMachine => {
    const machine = machines.get(uid);
    const target = machine && placed(machine);
    if (target === undefined) throw guestProblems.notHere(uid);
    return target;
  };

  const socketsOf = async ({ uid, signal }: GuestCall): Promise<GuestSockets> => {
    require(uid);
    return asProblem(() => live.sockets(uid, { signal }));
  };

  const screen = async (call: GuestCall, protocol: "vnc" | "spice"): Promise<Duplex> => {
    const path = (await socketsOf(call))[protocol];
    if (path !== undefined) return openSocket(path, call.signal);
    const name = protocol.toUpperCase();
    throw guestProblems.unsupported(
      `the guest has no ${name} screen: add ${name} to spec.graphics, and restart the machine`,
    );
  };

  const ask = (request: GuestRequest) => async (call: GuestCall) => {
    require(call.uid);
    await asProblem(() =>
      withDeadline(call.signal, REQUEST_MS, (signal) => requests.ask(call.uid, request, { signal })),
    );
  };

  return {
    console: async (call) => {
      require(call.uid);
      return asProblem(() =>
        consoles.attach(call.uid, consoleSource(call.uid, { live, domains }), call.signal),
      );
    },
    vnc: (call) => screen(call, "vnc"),
    spice: (call) => screen(call, "spice"),
    tcp: async ({ uid, port, signal }) => {
      const [nic] = require(uid).allocation.interfaces;
      if (nic === undefined) throw guestProblems.unsupported("the guest has no network interface");
      const to = { tap: tapName(uid, nic.network), address: nic.address, port };
      return openGuestPort(to, { signal }).catch((error: unknown) => {
        throw guestProblems.unavailable(`port ${port} of the guest does not answer: ${messageOf(error)}`);
      });
    },
    log: async ({ uid, signal }) => {
      require(uid);
      return Readable.from([await domains.readConsoleLog(uid, { signal })]);
    },
    screenshot: async ({ uid, signal }) => {
      require(uid);
      return asProblem(() => live.screenshot(uid, { signal }));
    },
    restart: ask("restart"),
    pause: ask("pause"),
    unpause: ask("unpause"),
  };
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What the rooms refuse, as the server tells it. */
const asProblem = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (error instanceof GuestOffError) throw guestProblems.wrongState("the guest is off");
    if (error instanceof RequestRefusedError) throw guestProblems.wrongState(error.message);
    throw guestProblems.unavailable(messageOf(error));
  }
};

const consoleSource = (
  uid: string,
  { live, domains }: Pick<GuestServicesOptions, "live" | "domains">,
): Parameters<Consoles["attach"]>[1] => ({
  connect: async (signal) => {
    const path = (await live.sockets(uid, { signal })).console;
    if (path === undefined) {
      throw new Error("the guest was started by an agent that knew no console; restart the machine");
    }
    return openSocket(path, signal);
  },
  recent: async (maxBytes, signal) => (await domains.readConsoleLog(uid, { signal })).slice(-maxBytes),
});

const openSocket = async (path: string, signal: AbortSignal): Promise<Duplex> => {
  const socket = connect({ path });
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
};
