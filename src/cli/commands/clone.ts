import { virtualMachineSnapshots } from "../../api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../api/virtual-machine.ts";
import { volumes } from "../../api/volume.ts";
import { dryRunFlag, outputFlag, waitFlags, type Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { machineFlags, metadataFlags } from "../machine-flags.ts";
import { checkSpec, metadataOf, sourceOf, specOf, type SpecDraft } from "../machine-spec.ts";
import { machineName, report, requireObject } from "../machines.ts";
import { readName, readObjectName, type NamedObject } from "../names.ts";
import type { Session } from "../session.ts";
import { requestAndWait } from "./snapshots.ts";

/**
 * What of a machine's spec is its own and not its clone's: its host name, its
 * volumes (one machine at a time can have them), and where its disk came from.
 */
const ownMembers = ["image", "imageNamespace", "source", "hostname", "volumes"] as const;

/** What is in place of the flavor's; another flavor means its size. */
const sizeMembers = ["vcpus", "maxVcpus", "memory", "maxMemory", "disk"] as const;

/** The clone's spec: the source's, as its user wrote it, without what only one machine can have, and the flags. */
export const clonedSpec = (source: SpecDraft, flags: SpecDraft): SpecDraft => {
  const left: readonly string[] =
    flags["flavor"] === undefined ? ownMembers : [...ownMembers, ...sizeMembers];
  const kept = Object.entries(source).filter(([member]) => !left.includes(member));
  const own = Object.fromEntries(kept.map(([member, value]) => [member, withoutAddresses(member, value)]));
  return { ...own, ...flags, ...joined("rootDisk", own, flags) };
};

/** Two machines cannot have one address, and network data of the user's own are full of them. */
const withoutAddresses = (member: string, value: unknown): unknown => {
  if (member === "cloudInit") return without(value, "networkDataSecretRef");
  if (member !== "networks" || !Array.isArray(value)) return value;
  return value.map((network: unknown) => without(network, "address", "allowedAddresses"));
};

const without = (value: unknown, ...members: readonly string[]): unknown =>
  typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).filter(([member]) => !members.includes(member)))
    : value;

const joined = (member: string, one: SpecDraft, other: SpecDraft): SpecDraft =>
  one[member] === undefined && other[member] === undefined
    ? {}
    : {
        [member]: { ...(one[member] as SpecDraft | undefined), ...(other[member] as SpecDraft | undefined) },
      };

export const clone: Command = {
  name: "clone",
  summary: "Makes a new machine of a machine, a snapshot or a volume",
  description: [
    "Creates a VirtualMachine whose root disk starts as a copy. It is a new machine: its own name, addresses, UUID, host keys and instance-id. Its configuration is that of the machine that it comes from, with what the flags change; volumes and fixed addresses are not taken over, since only one machine can have them.",
    "A volume has no configuration: give at least a size and a network.",
  ],
  arguments: [
    {
      name: "SOURCE",
      description:
        "a machine's name, snapshot/NAME or volume/NAME; of a running machine the disk as it is at this moment",
      completes: "disk",
    },
    { name: "NAME", description: "name of the new machine" },
  ],
  flags: [...machineFlags, ...metadataFlags, dryRunFlag, ...waitFlags, outputFlag],
  examples: [
    { comment: "the same again", command: "kubectl vireo clone web web-2" },
    {
      comment: "a larger one, as it was before the upgrade",
      command: "kubectl vireo clone snapshot/before-upgrade web-old --flavor large",
    },
  ],
  run: async (invocation, session) => {
    const source = readObjectName("SOURCE", invocation.word("SOURCE"), ["machine", "snapshot", "volume"]);
    const name = readName("NAME", invocation.word("NAME"));
    const file = invocation.text("user-data");
    const userData = file === undefined ? undefined : await session.host.files.read(file);
    const flags = specOf(invocation, userData);
    const configuration = await configurationOf(session, source);
    const spec = {
      ...clonedSpec(configuration, flags),
      source: sourceOf("SOURCE", invocation.word("SOURCE")),
    };
    checkSpec(spec);
    sayWhatIsLeftOut(session, configuration, flags);
    const body = { metadata: { name, ...metadataOf(invocation) }, spec };
    const made = await requestAndWait(session, invocation, virtualMachines, body);
    const isOver = invocation.isOn("wait") && !invocation.isOn("dry-run");
    const sentence = `${machineName(made.object)} ${isOver ? "is" : "is to be"} a clone of ${source.kind} ${source.name}`;
    await report(session, invocation, [{ raw: made.raw, sentence }]);
    return undefined;
  },
};

/** The spec of the machine that the source belongs to; nothing when that is gone, or there never was one. */
const configurationOf = async (session: Session, source: NamedObject): Promise<SpecDraft> => {
  const { signal } = session;
  const cluster = await session.cluster();
  if (source.kind === "volume") {
    await requireObject(session, volumes, source.name);
    return {};
  }
  if (source.kind === "machine") return specIn(await requireObject(session, virtualMachines, source.name));
  const snapshot = await requireObject(session, virtualMachineSnapshots, source.name);
  const { virtualMachine } = snapshot.object.spec;
  const machine = await cluster.get(virtualMachines, virtualMachine, signal);
  if (machine === undefined) {
    session.say.warning(
      `VirtualMachine ${virtualMachine} is gone, and with it the configuration: give it by flags`,
    );
    return {};
  }
  return specIn(machine);
};

/** As it is stored: members that this program does not know go along. */
const specIn = ({ raw }: { readonly raw: Readonly<Record<string, unknown>> }): SpecDraft => {
  const { spec } = raw;
  if (typeof spec !== "object" || spec === null) throw new UsageError("the machine has no spec");
  return spec as SpecDraft;
};

const sayWhatIsLeftOut = (session: Session, configuration: SpecDraft, flags: SpecDraft): void => {
  const { volumes: attached } = configuration;
  if (Array.isArray(attached) && attached.length > 0 && flags["volumes"] === undefined) {
    const names = attached.map(({ name }: { readonly name: string }) => name).join(", ");
    session.say.warning(
      `the clone has none of the volumes ${names}: one machine at a time can have a volume`,
    );
  }
  const fixed = JSON.stringify(configuration["networks"] ?? []);
  if (flags["networks"] === undefined && /"address"|"allowedAddresses":\[[^\]]/.test(fixed))
    session.say.warning("the clone gets addresses of its own in place of the fixed ones");
  if (JSON.stringify(configuration["cloudInit"] ?? {}).includes("networkDataSecretRef"))
    session.say.warning("the clone's network is set up by its own addresses, not by networkDataSecretRef");
};
