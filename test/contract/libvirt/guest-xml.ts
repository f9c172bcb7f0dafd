import { randomUUID } from "node:crypto";

const escape = (value: string): string =>
  value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** A guest without disk, network and operating system: it runs its firmware for ever. */
export const guestXml = (name: string, uuid: string = randomUUID()): string => `<domain type='qemu'>
  <name>${escape(name)}</name>
  <uuid>${uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
</domain>`;
