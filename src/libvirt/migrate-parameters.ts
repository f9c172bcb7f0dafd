import type { TypedParameter, TypedValue } from "./types.ts";

/**
 * What a migration may be told besides its flags. Each phase takes all of them
 * and heeds those that concern it.
 * https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_MIGRATE_PARAM_URI
 */
export interface MigrateParameters {
  /** Where memory goes: tcp://host:port, or unix:///path for a socket of the source that leads to the target. */
  readonly uri?: string;
  readonly destinationName?: string;
  /** The XML of the domain at the target: for begin a changed one, for prepare what begin has resolved with. */
  readonly destinationXml?: string;
  /** The definition that the target keeps, with PERSIST_DEST. */
  readonly persistentXml?: string;
  /** MiB per second. Default: no limit. */
  readonly bandwidth?: bigint;
  readonly graphicsUri?: string;
  /** Where the target listens. Not with unix sockets. */
  readonly listenAddress?: string;
  /** Targets (vda) of the disks to copy. Default: all that are neither shared nor read-only. */
  readonly migrateDisks?: readonly string[];
  readonly disksPort?: number;
  /** Where the content of disks goes, as `uri`. Needed when `uri` is a unix socket. */
  readonly disksUri?: string;
  /** How much AUTO_CONVERGE slows the guest down at first, in percent. */
  readonly autoConvergeInitial?: number;
  /** How much AUTO_CONVERGE adds each time, in percent. */
  readonly autoConvergeIncrement?: number;
  /** How many connections PARALLEL makes. */
  readonly parallelConnections?: number;
}

/** VIR_MIGRATE_PARAM_… */
export const MIGRATE_PARAMETER_NAMES: { readonly [K in keyof Required<MigrateParameters>]: string } = {
  uri: "migrate_uri",
  destinationName: "destination_name",
  destinationXml: "destination_xml",
  persistentXml: "persistent_xml",
  bandwidth: "bandwidth",
  graphicsUri: "graphics_uri",
  listenAddress: "listen_address",
  migrateDisks: "migrate_disks",
  disksPort: "disks_port",
  disksUri: "disks_uri",
  autoConvergeInitial: "auto_converge.initial",
  autoConvergeIncrement: "auto_converge.increment",
  parallelConnections: "parallel.connections",
};

/** The parameters as libvirt takes them: each item of a list under the list's name. */
export const migrateParameters = (parameters: MigrateParameters): readonly TypedParameter[] =>
  (Object.keys(MIGRATE_PARAMETER_NAMES) as (keyof MigrateParameters)[]).flatMap((key) => {
    const value = parameters[key];
    if (value === undefined) return [];
    const values: readonly TypedValue[] = typeof value === "object" ? value : [value];
    return values.map((item): TypedParameter => [MIGRATE_PARAMETER_NAMES[key], item]);
  });
