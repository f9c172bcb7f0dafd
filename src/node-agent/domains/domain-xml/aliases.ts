import type { DiskKind } from "../types.ts";

/**
 * Names that we give to devices, by which they are found again in a running
 * guest and in its events. libvirt wants the prefix "ua-".
 * https://libvirt.org/formatdomain.html#devices
 */

export const SEED_ALIAS = "ua-seed";
export const MEMORY_ALIAS = "ua-memory";

export const diskAlias = (kind: DiskKind, uid: string): string => `ua-${kind}-${uid}`;

/** What an alias names; undefined for one that diskAlias has not made. */
export const diskOfAlias = (alias: string): { readonly kind: DiskKind; readonly uid: string } | undefined => {
  const [, kind, uid] = /^ua-(disk|cdrom)-(.+)$/.exec(alias) ?? [];
  return uid !== undefined && (kind === "disk" || kind === "cdrom") ? { kind, uid } : undefined;
};
