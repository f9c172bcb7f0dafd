import type { Domain } from "../types.ts";
import type { XmlElement } from "./xml.ts";

/** What the description of a guest needs to know of the node. */
export interface HostParts {
  /** File that the guest's first serial port is written to. */
  readonly consoleLogPath: string;
  /** Unix socket by which that port is talked to. */
  readonly consoleSocketPath: string;
  /** Whether QEMU has SPICE. Default false. */
  readonly spice?: boolean;
  /** Needed for a guest with UEFI. */
  readonly uefi?: UefiFirmware | undefined;
}

/** Files of a UEFI firmware without Secure Boot. */
export interface UefiFirmware {
  readonly code: string;
  /** Copied for each guest: its boot variables. */
  readonly variablesTemplate: string;
}

/** What one aspect contributes to the domain. */
export interface Fragment {
  /** Children of <domain>. */
  readonly domain?: readonly XmlElement[];
  /** Children of <features>. */
  readonly features?: readonly XmlElement[];
  /** Children of <devices>. */
  readonly devices?: readonly XmlElement[];
}

/** One aspect of a guest. Pure. */
export type Configurator = (want: Domain, host: HostParts) => Fragment;
