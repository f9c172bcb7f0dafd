import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * What libvirt does by itself at the end of a guest: it never starts one again,
 * since the run strategy decides that. The panic device lets a Linux guest say
 * that its kernel has panicked; without it the guest would hang, and count as
 * running. https://libvirt.org/formatdomain.html#events-configuration
 */
export const power: Configurator = () => ({
  domain: [
    element("on_poweroff", {}, "destroy"),
    element("on_reboot", {}, "restart"),
    element("on_crash", {}, "destroy"),
  ],
  // acpi: the power button, and the panic device's discovery.
  features: [element("acpi"), element("apic")],
  devices: [element("panic", { model: "isa" })],
});
