import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * The tap is the links room's: managed='no' leaves its address, its MTU and its
 * life alone. mtu is what the guest's card offers. The option ROM for booting
 * from the network would only delay each boot.
 *
 * https://libvirt.org/formatdomain.html#generic-ethernet-connection
 */
export const interfaces: Configurator = (want) => ({
  devices: want.interfaces.map(({ tap, macAddress, mtu }) =>
    element(
      "interface",
      { type: "ethernet" },
      element("mac", { address: macAddress }),
      element("target", { dev: tap, managed: "no" }),
      element("model", { type: "virtio" }),
      element("mtu", { size: mtu }),
      element("rom", { enabled: "no" }),
    ),
  ),
});
