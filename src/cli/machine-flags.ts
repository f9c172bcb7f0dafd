import { graphicsProtocols, hugePageSizes, runStrategies, volumeBuses } from "../api/virtual-machine-spec.ts";
import { firmwares } from "../api/virtual-machine.ts";
import type { Flag } from "./command.ts";

/** Flags by which a machine's size is given. */
export const sizeFlags: readonly Flag[] = [
  {
    name: "flavor",
    kind: "text",
    placeholder: "NAME",
    description: "Flavor: virtual CPUs, memory and root disk",
    completes: "flavor",
  },
  {
    name: "vcpus",
    kind: "text",
    placeholder: "NUMBER",
    description: "virtual CPUs, in place of the flavor's",
  },
  {
    name: "max-vcpus",
    kind: "text",
    placeholder: "NUMBER",
    description: "virtual CPUs that the running guest can be given",
  },
  {
    name: "memory",
    kind: "text",
    placeholder: "SIZE",
    description: "memory, such as 4Gi, in place of the flavor's",
  },
  {
    name: "max-memory",
    kind: "text",
    placeholder: "SIZE",
    description: "memory that the running guest can be given",
  },
  {
    name: "disk",
    kind: "text",
    placeholder: "SIZE",
    description: "size of the root disk, in place of the flavor's",
  },
];

/** Flags of all else that a machine's spec says, its disk's origin excepted. */
export const machineFlags: readonly Flag[] = [
  ...sizeFlags,
  {
    name: "pool",
    kind: "text",
    placeholder: "NAME",
    description: "storage pool of the root disk; default local",
  },
  {
    name: "boot-order",
    kind: "text",
    placeholder: "NUMBER",
    description: "place of the root disk when the firmware looks for a system",
  },
  {
    name: "volume",
    kind: "list",
    placeholder: "NAME[,bus=BUS][,boot=NUMBER]",
    description: `Volume to attach; BUS is ${volumeBuses.join(" or ")}`,
    completes: "volume",
  },
  {
    name: "cdrom",
    kind: "list",
    placeholder: "IMAGE[,boot=NUMBER]",
    description: "Image of an ISO file that the guest has as a CD-ROM",
    completes: "image",
  },
  {
    name: "network",
    kind: "list",
    placeholder: "NAME[,address=IP][,allow=IP][,boot=NUMBER]",
    description: "Network with an interface, in order; allow is an address that it may send from, too",
    completes: "network",
  },
  {
    name: "key-pair",
    kind: "list",
    placeholder: "NAME",
    description: "KeyPair whose holder may log in",
    completes: "key-pair",
  },
  {
    name: "security-group",
    kind: "list",
    placeholder: "NAME",
    description: "SecurityGroup of the machine; default: the one named default",
    completes: "security-group",
  },
  {
    name: "run-strategy",
    kind: "text",
    placeholder: "STRATEGY",
    choices: runStrategies,
    description: `when it runs: ${runStrategies.join(", ")}; default Always`,
  },
  {
    name: "grace-period",
    kind: "text",
    placeholder: "SECONDS",
    description: "time to shut down in before the power is cut; default 60",
  },
  {
    name: "hostname",
    kind: "text",
    placeholder: "NAME",
    description: "host name of the guest; default: the machine's name",
  },
  {
    name: "user-data",
    kind: "text",
    placeholder: "FILE",
    description: 'file with the user data for cloud-init; "-" is standard input',
    completes: "file",
  },
  {
    name: "user-data-secret",
    kind: "text",
    placeholder: "NAME[/KEY]",
    description: "Secret with the user data; KEY is userdata by default",
  },
  {
    name: "network-data-secret",
    kind: "text",
    placeholder: "NAME[/KEY]",
    description: "Secret with the guest's network configuration; KEY is networkdata by default",
  },
  {
    name: "firmware",
    kind: "text",
    placeholder: "FIRMWARE",
    choices: firmwares,
    description: `${firmwares.join(" or ")}; default BIOS`,
  },
  { name: "tpm", kind: "switch", description: "give it a TPM 2.0" },
  {
    name: "cpu-model",
    kind: "text",
    placeholder: "MODEL",
    description: "model of the virtual processor, in libvirt's words",
  },
  {
    name: "cpu-topology",
    kind: "text",
    placeholder: "S:C:T",
    description: "sockets, cores of each, threads of each: 1:4:2",
  },
  {
    name: "huge-pages",
    kind: "text",
    placeholder: "SIZE",
    choices: hugePageSizes,
    description: `back the memory with huge pages of ${hugePageSizes.join(" or ")}`,
  },
  {
    name: "graphics",
    kind: "list",
    placeholder: "PROTOCOL",
    choices: [...graphicsProtocols, "none"],
    description: `how its screen is reached: ${graphicsProtocols.join(" or ")} or none; default VNC`,
  },
  {
    name: "liveness-probe",
    kind: "text",
    placeholder: "PROBE",
    description:
      "restart the guest when this fails: tcp:PORT, http:PORT/PATH or https:PORT/PATH, then ,period=SECONDS ,timeout= ,delay= ,failures=",
  },
  {
    name: "readiness-probe",
    kind: "text",
    placeholder: "PROBE",
    description: "not ready while this fails; written as --liveness-probe",
  },
  { name: "zone", kind: "text", placeholder: "NAME", description: "availability zone of its node" },
  {
    name: "node-selector",
    kind: "list",
    placeholder: "KEY=VALUE",
    description: "label that the Hypervisor of its node must have",
  },
];

/** Flags of the manifest's metadata. */
export const metadataFlags: readonly Flag[] = [
  { name: "label", kind: "list", placeholder: "KEY=VALUE", description: "label of the machine" },
  { name: "annotation", kind: "list", placeholder: "KEY=VALUE", description: "annotation of the machine" },
];
