import type { Configurator } from "./configurator.ts";
import { element, type XmlElement } from "./xml.ts";

/** libvirt chooses the socket's path, in a directory that QEMU may write to; the running domain's XML tells it. */
const onSocket = (type: string): XmlElement =>
  element("graphics", { type }, element("listen", { type: "socket" }));

/** Clipboard and screen size, for a guest that has SPICE's agent. */
const spiceAgent = element(
  "channel",
  { type: "spicevmc" },
  element("target", { type: "virtio", name: "com.redhat.spice.0" }),
);

/**
 * A serial port that can be talked to, and whose output is in a file as well,
 * from boot on and whether anybody listens or not. A screen on unix sockets
 * that only root of the node reaches. The screen is a plain VGA: boot loaders
 * and every kernel can use it.
 *
 * https://libvirt.org/formatdomain.html#consoles-serial-parallel-channel-devices
 */
export const consoles: Configurator = ({ graphics }, { consoleLogPath, consoleSocketPath, spice }) => {
  const serial = element(
    "serial",
    { type: "unix" },
    element("source", { mode: "bind", path: consoleSocketPath }),
    element("log", { file: consoleLogPath, append: "on" }),
    element("target", { type: "isa-serial", port: 0 }),
  );
  const vnc = graphics.includes("VNC") ? [onSocket("vnc")] : [];
  const spiceToo = spice === true && graphics.includes("SPICE") ? [onSocket("spice"), spiceAgent] : [];
  const screens = [...vnc, ...spiceToo];
  const card = screens.length === 0 ? [] : [element("video", {}, element("model", { type: "vga" }))];
  return { devices: [serial, ...screens, ...card] };
};
