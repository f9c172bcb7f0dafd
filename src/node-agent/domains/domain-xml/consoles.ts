import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * A serial port that can be talked to, and whose output is in a file as well,
 * from boot on and whether anybody listens or not. A screen through VNC on a
 * unix socket that only root of the node reaches. The screen is a plain VGA:
 * boot loaders and every kernel can use it.
 *
 * https://libvirt.org/formatdomain.html#consoles-serial-parallel-channel-devices
 */
export const consoles: Configurator = (_want, { consoleLogPath }) => ({
  devices: [
    element(
      "serial",
      { type: "pty" },
      element("log", { file: consoleLogPath, append: "on" }),
      element("target", { type: "isa-serial", port: 0 }),
    ),
    element("console", { type: "pty" }, element("target", { type: "serial", port: 0 })),
    element("graphics", { type: "vnc" }, element("listen", { type: "socket" })),
    element("video", {}, element("model", { type: "vga" })),
  ],
});
