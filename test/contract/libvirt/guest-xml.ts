import { randomUUID } from "node:crypto";

const escape = (value: string): string =>
  value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** A channel for the guest agent. */
export const AGENT_CHANNEL =
  "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";

/** A guest without disk, network and operating system: it runs its firmware for ever. */
export const guestXml = (
  name: string,
  uuid: string = randomUUID(),
  devices = "",
): string => `<domain type='qemu'>
  <name>${escape(name)}</name>
  <uuid>${uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>${devices}</devices>
</domain>`;
