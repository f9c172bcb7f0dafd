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

/** A disk whose guest need not listen to be rid of it: SCSI has no such manners. */
export const diskXml = (
  file: string,
  target: string,
  { bus = "scsi", alias }: { readonly bus?: "scsi" | "virtio"; readonly alias?: string } = {},
): string => `<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/>
  <source file='${file}'/>
  <target dev='${target}' bus='${bus}'/>
  ${alias === undefined ? "" : `<alias name='${alias}'/>`}
</disk>`;

export const SCSI_CONTROLLER = "<controller type='scsi' model='virtio-scsi'/>";

/** A network interface on USB, which the guest need not give back either. */
export const interfaceXml = (
  mac: string,
  { link = "up", alias = "ua-nic" }: { readonly link?: "up" | "down"; readonly alias?: string } = {},
): string => `<interface type='user'>
  <mac address='${mac}'/>
  <model type='usb-net'/>
  <link state='${link}'/>
  <alias name='${alias}'/>
</interface>`;

/** The file that the guest writes for that target, in the XML of a running domain. */
export const sourceOf = (xml: string, target: string): string | undefined =>
  [...xml.matchAll(/<disk\b[^]*?<\/disk>/g)]
    .map(([disk]) => disk)
    .filter((disk) => disk.includes(`dev='${target}'`))
    .map((disk) => /<source file='([^']*)'/.exec(disk)?.[1])[0];
