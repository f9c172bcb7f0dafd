import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/** Seconds between two reports of the guest about its memory. */
const STATISTICS_PERIOD_SECONDS = 10;

/**
 * What helps a guest that knows it is one: random numbers, a balloon that tells
 * how much memory is used and gives free pages back, the guest agent's channel.
 *
 * https://libvirt.org/formatdomain.html#devices
 */
export const guestServices: Configurator = () => ({
  devices: [
    element("rng", { model: "virtio" }, element("backend", { model: "random" }, "/dev/urandom")),
    element(
      "memballoon",
      { model: "virtio", freePageReporting: "on" },
      element("stats", { period: STATISTICS_PERIOD_SECONDS }),
    ),
    element(
      "channel",
      { type: "unix" },
      element("target", { type: "virtio", name: "org.qemu.guest_agent.0" }),
    ),
  ],
});
