import type { LibvirtClient } from "../../libvirt/index.ts";
import type { Files } from "../host/files.ts";
import { createConsoleLogs } from "./console-logs.ts";
import { createDomainDriver } from "./driver.ts";
import { findUefiFirmware } from "./firmware.ts";
import { vmUidOf } from "./owner.ts";
import type { Power } from "./power-state.ts";
import { type Domain, DomainRefusedError, type ObservedDomain } from "./types.ts";

export { guestAnswers, probeAcceleration, type ProbeOptions } from "./acceleration.ts";
export { availableFirmwares } from "./firmware.ts";
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
  /** Undefined when libvirt has no domain for the machine. */
  observe(vmUid: string, options: DomainsCallOptions): Promise<ObservedDomain | undefined>;
  /** Defines the guest as described and switches it on. One that is on stays as it is. */
  start(want: Domain, options: DomainsCallOptions): Promise<void>;
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

export const createDomains = (options: DomainsOptions): Domains => {
  const { libvirt, stateDirectory, files, maxConsoleLogBytes } = options;
  const driver = createDomainDriver(libvirt);
  const consoleLogs = createConsoleLogs({
    stateDirectory,
    files,
    ...(maxConsoleLogBytes === undefined ? {} : { maxBytes: maxConsoleLogBytes }),
  });

  const uefiFor = async ({ firmware, vmUid }: Domain, { signal }: DomainsCallOptions) => {
    if (firmware === "BIOS") return undefined;
    const uefi = await findUefiFirmware(libvirt, { signal });
    if (uefi !== undefined) return uefi;
    throw new DomainRefusedError(
      `machine ${vmUid} is to boot with UEFI and this node has no UEFI firmware: install it (Debian: ovmf)`,
    );
  };

  return {
    list: async ({ signal }) => (await driver.list({ signal })).map(observed),
    observe: async (vmUid, { signal }) => {
      const found = await driver.find(vmUid, { signal });
      return found && observed(found);
    },
    start: async (want, { signal }) => {
      await consoleLogs.prepare();
      const host = {
        consoleLogPath: consoleLogs.pathOf(want.vmUid),
        consoleSocketPath: consoleLogs.socketPathOf(want.vmUid),
        uefi: await uefiFor(want, { signal }),
      };
      await driver.start(want, host, { signal });
    },
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
    onChange: (listener) => {
      const stops = [
        libvirt.onConnected(() => listener("all")),
        libvirt.onDomainLifecycle((event) => {
          const vmUid = vmUidOf(event);
          if (vmUid !== undefined) listener(vmUid);
        }),
      ];
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
};
