import { z } from "zod";

import type { ControlPlane } from "../types.ts";

/** What the demo reads of a VirtualMachine. */
const machineSchema = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), uid: z.string() }),
  spec: z.object({ image: z.string(), keyPairs: z.array(z.string()).default([]) }),
  status: z
    .object({
      printableStatus: z.string().optional(),
      nodeName: z.string().optional(),
      allocation: z.object({ interfaces: z.array(z.object({ address: z.string() })) }).optional(),
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string().default(""),
            message: z.string().default(""),
          }),
        )
        .default([]),
    })
    .optional(),
});

export type Machine = z.infer<typeof machineSchema>;

type Kubectl = ControlPlane["kubectl"];

export const readMachine = async (kubectl: Kubectl, name: string, namespace: string): Promise<Machine> =>
  machineSchema.parse(JSON.parse(await kubectl(["get", "vm", name, "-n", namespace, "-o", "json"])));

/** One line on how far a machine is. */
export const describeMachine = (machine: Machine): string => {
  const ready = machine.status?.conditions.find((condition) => condition.type === "Ready");
  const status = machine.status?.printableStatus ?? "no status yet";
  return ready === undefined || ready.status === "True"
    ? status
    : `${status}: ${ready.message || ready.reason}`;
};

export const isReady = (machine: Machine): boolean =>
  machine.status?.conditions.some(({ type, status }) => type === "Ready" && status === "True") ?? false;

const keyPairSchema = z.object({
  spec: z.object({ generate: z.object({ secretName: z.string() }).optional() }),
});
const secretSchema = z.object({ data: z.record(z.string(), z.string()) });

/** The private key of the first of the machine's KeyPairs that Vireo has generated. */
export const readPrivateKey = async (kubectl: Kubectl, machine: Machine): Promise<string | undefined> => {
  const { namespace } = machine.metadata;
  const get = async (kind: string, name: string): Promise<unknown> =>
    JSON.parse(await kubectl(["get", kind, name, "-n", namespace, "-o", "json"]));
  for (const name of machine.spec.keyPairs) {
    const { spec } = keyPairSchema.parse(await get("keypair", name));
    if (spec.generate === undefined) continue;
    const { data } = secretSchema.parse(await get("secret", spec.generate.secretName));
    return Buffer.from(data["ssh-privatekey"] ?? "", "base64").toString("utf8");
  }
  return undefined;
};
