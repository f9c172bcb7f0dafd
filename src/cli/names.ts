import { objectName } from "../api/fields.ts";
import { UsageError } from "./errors.ts";

/** Names of kinds as kubectl takes them, in front of a slash. */
export const kindAliases = {
  machine: [
    "vm",
    "vms",
    "virtualmachine",
    "virtualmachines",
    "virtualmachine.vireo.dev",
    "virtualmachines.vireo.dev",
  ],
  snapshot: [
    "snapshot",
    "vmsnapshot",
    "vmsnapshots",
    "virtualmachinesnapshot",
    "virtualmachinesnapshots",
    "virtualmachinesnapshot.vireo.dev",
  ],
  volume: ["vol", "volume", "volumes", "volume.vireo.dev"],
} as const;
export type NamedKind = keyof typeof kindAliases;

export interface NamedObject {
  readonly kind: NamedKind;
  readonly name: string;
}

/** Reads "web", "vm/web" or "snapshot/before"; a bare name is a machine's. Throws UsageError. */
export const readObjectName = (what: string, text: string, allowed: readonly NamedKind[]): NamedObject => {
  const slash = text.indexOf("/");
  const prefix = slash === -1 ? "vm" : text.slice(0, slash).toLowerCase();
  const kind = allowed.find((candidate) => kindAliases[candidate].some((alias) => alias === prefix));
  if (kind === undefined) {
    const known = allowed.map((candidate) => kindAliases[candidate][0]).join(", ");
    throw new UsageError(`${what}: ${JSON.stringify(text)} does not begin with one of ${known} and a slash`);
  }
  return { kind, name: readName(what, text.slice(slash + 1)) };
};

/** The name of a machine, with or without "vm/". Throws UsageError. */
export const readMachineName = (text: string): string => readObjectName("VM", text, ["machine"]).name;

/** A name as Kubernetes has them. Throws UsageError. */
export const readName = (what: string, text: string): string => {
  if (objectName.safeParse(text).success) return text;
  throw new UsageError(
    `${what}: ${JSON.stringify(text)} is not a name: lower-case letters, digits, dots and dashes`,
  );
};
