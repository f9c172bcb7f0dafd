import type { Configurator } from "./configurator.ts";
import { element, type XmlElement } from "./xml.ts";

/**
 * - kvm: host-model, the closest named model to the node's CPU: fast, and still
 *   something that another node can be asked for when the guest moves.
 * - tcg: Nehalem, the first CPU of the level x86-64-v2 that current distributions
 *   ask for. Newer ones have AVX, which an emulator only makes slower.
 *   check='none': what QEMU cannot emulate of it is left out in silence.
 *
 * https://libvirt.org/formatdomain.html#cpu-model-and-topology
 */
const models = {
  kvm: { attributes: { mode: "host-model" }, children: [] },
  tcg: {
    attributes: { mode: "custom", match: "exact", check: "none" },
    children: [element("model", { fallback: "forbid" }, "Nehalem")],
  },
} satisfies Record<string, { attributes: Readonly<Record<string, string>>; children: readonly XmlElement[] }>;

/** One socket: licences and schedulers of guests count sockets. */
const topology = (vcpus: number): XmlElement =>
  element("topology", { sockets: 1, dies: 1, cores: vcpus, threads: 1 });

export const cpu: Configurator = ({ vcpus, acceleration }) => {
  const { attributes, children } = models[acceleration];
  return {
    domain: [
      element("vcpu", { placement: "static" }, vcpus),
      element("cpu", attributes, ...children, topology(vcpus)),
    ],
  };
};
