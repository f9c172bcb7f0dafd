import { bootPlaces } from "./boot-order.ts";
import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * The tap is the links room's: managed='no' leaves its address, its MTU and its
 * life alone. mtu is what the guest's card offers. The option ROM for booting
 * from the network would only delay each boot, where that is not asked for.
 *
 * https://libvirt.org/formatdomain.html#generic-ethernet-connection
 */
export const interfaces: Configurator = (want) => {
  const places = bootPlaces(want);
  return {
    devices: want.interfaces.map((card) => {
      const place = places.get(card);
      return element(
        "interface",
        { type: "ethernet" },
        element("mac", { address: card.macAddress }),
        element("target", { dev: card.tap, managed: "no" }),
        element("model", { type: "virtio" }),
        element("mtu", { size: card.mtu }),
        place === undefined ? element("rom", { enabled: "no" }) : element("boot", { order: place }),
      );
    }),
  };
};
