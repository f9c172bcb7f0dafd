import type { Domain, ObservedDomain } from "./types.ts";

export { DomainRefusedError } from "./types.ts";
export type { Domain, DomainInterface, ObservedDomain } from "./types.ts";

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
  /** Presses the power button (ACPI) and returns at once. Does nothing to a guest that is off. */
  shutdown(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /** Cuts the power. Does nothing to a guest that is off. */
  destroy(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /** Leaves nothing of the guest in libvirt: power, definition, NVRAM; removes the console log too. */
  remove(vmUid: string, options: DomainsCallOptions): Promise<void>;
  /** Keeps the console logs of all guests within their bound; to be called every few seconds. */
  trimConsoleLogs(options: DomainsCallOptions): Promise<void>;
  /**
   * Calls back with a machine whose domain has changed, and with "all" after
   * each connection to libvirt. A hint: it may come twice, or for nothing.
   */
  onChange(listener: (vmUid: string | "all") => void): () => void;
}
