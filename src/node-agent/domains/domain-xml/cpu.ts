import type { Acceleration } from "../../../api/hypervisor.ts";
import { type Domain, DomainRefusedError } from "../types.ts";
import type { Configurator } from "./configurator.ts";
import { growthMiB } from "./memory.ts";
import { element, type XmlElement } from "./xml.ts";

interface CpuMode {
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
}

const mode = (attributes: CpuMode["attributes"]): CpuMode => ({ attributes, children: [] });

/** check='none', emulated: what QEMU cannot emulate of a model is left out in silence. */
const named = (model: string, acceleration: Acceleration): CpuMode => ({
  attributes: {
    mode: "custom",
    match: "exact",
    check: acceleration === "tcg" ? "none" : "partial",
  },
  children: [element("model", { fallback: "forbid" }, model)],
});

/**
 * - kvm: host-model, the closest named model to the node's CPU: fast, and still
 *   something that another node can be asked for when the guest moves.
 * - tcg: Nehalem, the first CPU of the level x86-64-v2 that current distributions
 *   ask for. Newer ones have AVX, which an emulator only makes slower. What is
 *   asked for of the host is all that the emulator can do.
 *
 * https://libvirt.org/formatdomain.html#cpu-model-and-topology
 */
const modeOf = ({ acceleration, cpu: { model } = {} }: Domain): CpuMode => {
  const ofHost = model === "host-model" || model === "host-passthrough";
  if (model !== undefined && !ofHost) return named(model, acceleration);
  if (acceleration === "tcg") return ofHost ? mode({ mode: "maximum" }) : named("Nehalem", acceleration);
  return mode({ mode: model ?? "host-model" });
};

/** With more, libvirt asks for an IOMMU, which guests here do not have. */
const MOST_VCPUS = 255;

/** What nobody has laid out by hand is cut to what is possible: a limit, not a wish. */
const maxVcpusOf = ({ vcpus, maxVcpus = vcpus, cpu }: Domain): number =>
  Math.max(vcpus, cpu?.topology === undefined ? Math.min(maxVcpus, MOST_VCPUS) : maxVcpus);

/** One socket, where nothing else is asked for: licences and schedulers of guests count sockets. */
const topology = (want: Domain): XmlElement => {
  const count = maxVcpusOf(want);
  const { sockets, cores, threads } = want.cpu?.topology ?? { sockets: 1, cores: count, threads: 1 };
  if (sockets * cores * threads !== count) {
    throw new DomainRefusedError(
      `the CPU topology of ${sockets} sockets, ${cores} cores and ${threads} threads makes ${sockets * cores * threads} virtual CPUs, and the machine can have ${count}: change cpu.topology or maxVcpus`,
    );
  }
  return element("topology", { sockets, dies: 1, cores, threads });
};

/** A virtio-mem device belongs to a NUMA node. */
const numa = (want: Domain): readonly XmlElement[] =>
  growthMiB(want) === 0
    ? []
    : [
        element(
          "numa",
          {},
          element("cell", {
            id: 0,
            cpus: `0-${maxVcpusOf(want) - 1}`,
            memory: want.memoryMiB,
            unit: "MiB",
          }),
        ),
      ];

/** Virtual CPUs beyond the first ones can be plugged into the running guest. */
export const cpu: Configurator = (want) => {
  const { attributes, children } = modeOf(want);
  const count = maxVcpusOf(want);
  const current = count === want.vcpus ? undefined : want.vcpus;
  return {
    domain: [
      element("vcpu", { placement: "static", current }, count),
      element("cpu", attributes, ...children, topology(want), ...numa(want)),
    ],
  };
};
