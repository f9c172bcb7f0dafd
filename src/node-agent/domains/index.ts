import type { DomainEventKind, DomainRef, LibvirtClient } from "../../libvirt/index.ts";
import type { Files } from "../host/files.ts";
import { createConsoleLogs } from "./console-logs.ts";
import { arrivingDomain } from "./arriving-domain.ts";
import { createDomainDriver } from "./driver.ts";
import type { HostParts } from "./domain-xml/index.ts";
import { hardwareOf } from "./hardware.ts";
import { featuresFor } from "./host-features.ts";
import { vmUidOf } from "./owner.ts";
import { isOn, type Power } from "./power-state.ts";
import type { Domain, ObservedDomain, ObservedHardware, SavedMemory } from "./types.ts";

export { guestAnswers, probeAcceleration, type ProbeOptions } from "./acceleration.ts";
export { availableFeatures } from "./host-features.ts";
export { domainName } from "./owner.ts";
export { createLiveDomains } from "./live.ts";
export type { LiveDevices, LiveDomains, LiveLayers, LiveScreens, LiveSize } from "./live.ts";
export { pendingChanges } from "./settings.ts";
export { diskSerial, DomainRefusedError, GuestOffError } from "./types.ts";
export type * from "./types.ts";

export interface DomainsCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The guests of this node, as libvirt runs them. Only domains that carry our
 * mark are seen or touched. Every verb may be repeated. A verb rejects with
 * - DomainRefusedError when only a person can help,
 * - an error of src/libvirt otherwise; after its OutcomeUnknownError the state
 *   is to be read again, which the caller's next pass does.
 */
export interface Domains {
  list(options: DomainsCallOptions): Promise<readonly ObservedDomain[]>;
  /** Undefined when libvirt has no domain for the machine. With the guest's hardware while it is on. */
  observe(vmUid: string, options: DomainsCallOptions): Promise<ObservedDomain | undefined>;
  /** Defines the guest as described and switches it on. One that is on stays as it is. */
  start(want: Domain, options: DomainsCallOptions): Promise<void>;
  /**
   * In place of start: the guest goes on from memory that was saved, on the disks
   * that `want` names, which must be as they were at that moment. It then has the
   * hardware of that moment, and what `want` has beyond that after its next start.
   */
  restore(want: Domain, memory: SavedMemory, options: DomainsCallOptions): Promise<void>;
  /**
   * The description of a guest that arrives from another node, where it runs as
   * `runningXml` says: on this node's files, taps and sockets.
   */
  describeArriving(
    want: Domain,
    runningXml: string,
    options: DomainsCallOptions,
  ): Promise<{ readonly xml: string; readonly hardware: ObservedHardware }>;
  /** Presses the power button (ACPI) and returns at once. A guest that is off, paused or going off is left alone. */
  shutdown(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /** Cuts the power. Does nothing to a guest that is off. */
  destroy(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /** Leaves nothing of the guest in libvirt: power, definition, NVRAM; removes the console log too. */
  remove(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /**
   * Sends a command (JSON) to the guest's QEMU guest agent, which has so many
   * seconds, and resolves with its answer (JSON).
   */
  askAgent(
    vmUid: string,
    command: string,
    options: DomainsCallOptions & { readonly seconds: number },
  ): Promise<string>;
  /** What the guest has written to its serial console, the last 4 MiB of it at most; empty when there is nothing. */
  readConsoleLog(vmUid: string, options: DomainsCallOptions): Promise<Uint8Array>;
  /** Keeps the console logs of all guests within their bound; to be called every few seconds. */
  trimConsoleLogs(options: DomainsCallOptions): Promise<void>;
  /**
   * Calls back with the UID of a machine whose domain has changed, and with
   * "all" after each connection to libvirt. A hint: it may come twice, or for nothing.
   */
  onChange(listener: (vmUid: string) => void): () => void;
}

export interface DomainsOptions {
  readonly libvirt: LibvirtClient;
  /** consoles/<vm uid>.log is in here. */
  readonly stateDirectory: string;
  readonly files: Files;
  /** Bound of a console log in bytes, and of the older part beside it. Default 2 MiB. */
  readonly maxConsoleLogBytes?: number;
}

const observed = ({ vmUid, powerState, exit }: Power & { readonly vmUid: string }): ObservedDomain =>
  exit === undefined ? { vmUid, powerState } : { vmUid, powerState, exit };

/** The kinds of libvirt's events that `onChange` needs its client to be opened with. */
export const domainEventKinds = [
  "lifecycle",
  "deviceRemoved",
  "deviceRemovalFailed",
  "memoryDeviceSizeChange",
  "blockJob2",
] as const satisfies readonly DomainEventKind[];

const listen = (libvirt: LibvirtClient, listener: (vmUid: string) => void): readonly (() => void)[] => {
  const tell = (domain: Pick<DomainRef, "name" | "uuid">): void => {
    const vmUid = vmUidOf(domain);
    if (vmUid !== undefined) listener(vmUid);
  };
  return [
    libvirt.onConnected(() => listener("all")),
    ...domainEventKinds.map((kind) =>
      libvirt.onDomainEvent(kind, (event) => tell("domain" in event ? event.domain : event)),
    ),
  ];
};

export const createDomains = (options: DomainsOptions): Domains => {
  const { libvirt, stateDirectory, files, maxConsoleLogBytes } = options;
  const driver = createDomainDriver(libvirt);
  const consoleLogs = createConsoleLogs({
    stateDirectory,
    files,
    ...(maxConsoleLogBytes === undefined ? {} : { maxBytes: maxConsoleLogBytes }),
  });

  const partsFor = async (want: Domain, { signal }: DomainsCallOptions): Promise<HostParts> => {
    await consoleLogs.prepare();
    return {
      consoleLogPath: consoleLogs.pathOf(want.vmUid),
      consoleSocketPath: consoleLogs.socketPathOf(want.vmUid),
      ...(await featuresFor(want, libvirt, { signal })),
    };
  };

  return {
    list: async ({ signal }) => (await driver.list({ signal })).map(observed),
    observe: async (vmUid, { signal }) => {
      const found = await driver.find(vmUid, { signal });
      if (found === undefined) return undefined;
      const xml = isOn(found) ? await driver.liveXml(found.ref, { signal }) : undefined;
      return xml === undefined ? observed(found) : { ...observed(found), hardware: hardwareOf(xml, vmUid) };
    },
    start: async (want, { signal }) => driver.start(want, await partsFor(want, { signal }), { signal }),
    restore: async (want, memory, { signal }) =>
      driver.restore(want, memory, await partsFor(want, { signal }), { signal }),
    describeArriving: async (want, runningXml, { signal }) =>
      arrivingDomain(runningXml, want, await partsFor(want, { signal })),
    shutdown: (vmUid, { signal }) => driver.pressPowerButton(vmUid, { signal }),
    destroy: (vmUid, { signal }) => driver.cutPower(vmUid, { signal }),
    remove: async (vmUid, { signal }) => {
      await driver.cutPower(vmUid, { signal });
      await driver.undefine(vmUid, { signal });
      // Last: a running guest would make it again.
      await consoleLogs.remove(vmUid);
    },
    askAgent: (vmUid, command, options) => driver.askAgent(vmUid, command, options),
    trimConsoleLogs: ({ signal }) => consoleLogs.trim({ signal }),
    readConsoleLog: (vmUid, { signal }) => consoleLogs.read(vmUid, { signal }),
    onChange: (listener) => {
      const stops = listen(libvirt, listener);
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
};
