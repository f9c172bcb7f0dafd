import { z } from "zod";
import {
  dnsLabel,
  exactlyOneOf,
  ipv4Address,
  labelSelector,
  labelValue,
  mayOnlyGrow,
  objectName,
  rules,
  secretKey,
  text,
  unchangeableMember,
  wholeMebibytes,
} from "./fields.ts";
import { livenessProbe, readinessProbe } from "./probe.ts";
import { storagePoolName } from "./storage-pool.ts";

/** spec of a VirtualMachine; see virtual-machine.ts for the kind. */

export const runStrategies = ["Always", "RerunOnFailure", "Once", "Halted"] as const;
export type RunStrategy = (typeof runStrategies)[number];

export const firmwares = ["BIOS", "UEFI"] as const;
export type Firmware = (typeof firmwares)[number];

export const volumeBuses = ["VirtIO", "SCSI"] as const;
export type VolumeBus = (typeof volumeBuses)[number];

export const graphicsProtocols = ["VNC", "SPICE"] as const;
export type GraphicsProtocol = (typeof graphicsProtocols)[number];

export const hugePageSizes = ["2Mi", "1Gi"] as const;
export type HugePageSize = (typeof hugePageSizes)[number];

/** Limits of what one machine may have; the guest's PCI slots are made for them. */
export const MAX_NETWORKS = 8;
export const MAX_VOLUMES = 16;
export const MAX_CDROMS = 4;

/** What of a machine's spec stays as it was when the machine was made. */
const immutableFields = [
  "image",
  "imageNamespace",
  "source",
  "keyPairs",
  "hostname",
  "cloudInit",
  "firmware",
  "tpm",
  "networks",
] as const;

const bootOrder = z
  .int()
  .min(1)
  .max(64)
  .optional()
  .describe(
    "Place in the order in which the firmware tries devices; the lowest first. Devices without one are tried after those with one; the root disk comes first when no device has one.",
  );

const userData = text(65_536)
  .refine((value) => !value.includes("\u0000"), "must not contain NUL")
  .meta({
    maxLength: 65_536,
    ...rules({ rule: String.raw`!self.contains('\u0000')`, message: "must not contain NUL" }),
  });

const secretReference = (key: string) =>
  z.object({
    name: objectName.describe("Name of the Secret in this namespace."),
    key: secretKey.default(key).describe(`Key in the Secret's data. Default: ${key}.`),
  });

const network = z
  .object({
    name: objectName.describe("Name of the Network."),
    address: ipv4Address
      .optional()
      .describe(
        "The address that the machine is to have in the Network. Default: the lowest free one. A machine whose address is taken waits until it is free.",
      ),
    allowedAddresses: z
      .array(ipv4Address)
      .max(8)
      .default([])
      .describe(
        "Further addresses of the Network that the machine may send from and is reached by, for example one that it shares with another machine (VRRP with unicast peers). Of the machines that list the same address, the first by name that is Ready has it. Reserve it in the Network, so that it is not given to a machine.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
    bootOrder,
  })
  .describe("A network.");

const volume = z.object({
  name: objectName
    .describe("Name of a Volume in this namespace. Not root: so are root disks called in snapshots.")
    .meta(rules({ rule: "self != 'root'", message: "a Volume called root cannot be attached" })),
  bus: z
    .enum(volumeBuses)
    .default("VirtIO")
    .describe("How the guest sees the disk: VirtIO (vdb, vdc, …) or SCSI (sda, sdb, …)."),
  bootOrder,
});

const cdrom = z.object({
  image: objectName.describe(
    "Name of an Image in this namespace, of format raw: an ISO 9660 file, for example of an installer.",
  ),
  bootOrder,
});

const source = z
  .object({
    virtualMachine: objectName
      .optional()
      .describe("Name of a VirtualMachine: the root disk starts as a copy of its root disk at this moment."),
    snapshot: objectName
      .optional()
      .describe("Name of a VirtualMachineSnapshot: the root disk starts as the one in it."),
    volume: objectName
      .optional()
      .describe("Name of a Volume: the root disk starts as a copy of it at this moment."),
  })
  .describe(
    "What the root disk starts as, in place of an image: exactly one of virtualMachine, snapshot and volume, of this namespace. The machine is a new one: it has its own addresses, UUID, host name and instance-id.",
  )
  .meta(rules(exactlyOneOf("virtualMachine", "snapshot", "volume")));

const cpu = z.object({
  model: z
    .string()
    .min(1)
    .max(64)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
    .optional()
    .describe(
      "Model of the virtual processor in libvirt's words, for example EPYC or Skylake-Server; host-passthrough for that of the node, host-model for the nearest one that is known. Default: host-model where guests run on the processor, so that they can be migrated; the emulator's best elsewhere.",
    ),
  topology: z
    .object({
      sockets: z.int().min(1).max(256).default(1).describe("Sockets."),
      cores: z.int().min(1).max(256).default(1).describe("Cores of each socket."),
      threads: z.int().min(1).max(2).default(1).describe("Threads of each core."),
    })
    .optional()
    .describe(
      "How the most virtual CPUs that the machine can have (maxVcpus) are laid out; sockets times cores times threads must be that number. Default: one core for each, in one socket.",
    ),
});

export const spec = z
  .object({
    flavor: objectName
      .optional()
      .describe(
        "Name of the Flavor, which says how many virtual CPUs, how much memory and how large a root disk the machine has. Another flavor is applied while the guest runs as far as that can be done; condition RestartRequired tells of the rest.",
      ),
    vcpus: z
      .int()
      .min(1)
      .max(256)
      .optional()
      .describe(
        "Number of virtual CPUs, in place of the flavor's. More are plugged while the guest runs, up to maxVcpus; fewer need a restart.",
      ),
    maxVcpus: z
      .int()
      .min(1)
      .max(256)
      .optional()
      .describe(
        "How many virtual CPUs the running guest can be given. Default: as many as cpu.topology lays out, else that of the flavor, else four times vcpus; a machine whose size changes keeps it while it suffices.",
      ),
    memory: wholeMebibytes("64Mi", "16Ti")
      .optional()
      .describe(
        "Memory, for example 4Gi, in place of the flavor's. It grows while the guest runs, up to maxMemory, and shrinks again down to what the guest was started with.",
      ),
    maxMemory: wholeMebibytes("64Mi", "16Ti")
      .optional()
      .describe(
        "How much memory the running guest can be given. Default: that of the flavor, else memory; a machine whose size changes keeps it while it suffices.",
      ),
    disk: wholeMebibytes("64Mi", "64Ti", mayOnlyGrow("a root disk cannot shrink"))
      .optional()
      .describe("Size of the root disk, in place of the flavor's. It can grow, and never shrinks."),
    image: objectName.optional().describe("Name of the Image that the root disk starts as."),
    imageNamespace: dnsLabel
      .optional()
      .describe(
        "Namespace of the Image. Default: the machine's own. An Image of another namespace must be Public, or Shared with this one.",
      ),
    source: source.optional(),
    rootDisk: z
      .object({
        pool: storagePoolName
          .default("local")
          .describe("Storage pool of the nodes that the root disk is kept in. It cannot be changed.")
          .meta(
            rules({
              rule: "self == oldSelf",
              message: "the root disk's pool cannot be changed; clone the machine instead",
              reason: "FieldValueForbidden",
            }),
          ),
        bootOrder,
      })
      .prefault({})
      .describe("Where the root disk is kept, and when it is booted from."),
    volumes: z
      .array(volume)
      .max(MAX_VOLUMES)
      .default([])
      .describe(
        "Volumes that the guest has as disks beside the root disk. One that is added is attached while the guest runs; one that is taken away is detached once the guest lets go of it.",
      )
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
    cdroms: z
      .array(cdrom)
      .max(MAX_CDROMS)
      .default([])
      .describe("ISO images that the guest has as CD-ROMs. They too come and go while the guest runs.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["image"] }),
    keyPairs: z
      .array(objectName)
      .max(16)
      .default([])
      .describe("Names of KeyPairs in this namespace whose holders may log in by ssh.")
      .meta({ "x-kubernetes-list-type": "set" }),
    networks: z
      .array(network)
      .min(1)
      .max(MAX_NETWORKS)
      .describe(
        "The networks that the machine has an interface in, each with an address that it keeps for its whole life. The first one's gateway is the guest's default route.",
      )
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
    securityGroups: z
      .array(objectName)
      .max(16)
      .default([])
      .describe(
        "Names of SecurityGroups in this namespace. The machine may do what any of them allows; a change holds at once. Default: the group named default.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
    runStrategy: z
      .enum(runStrategies)
      .default("Always")
      .describe(
        "When the machine runs. Always: it is started again whenever it stops. RerunOnFailure: it is started again when it crashes, but not when the guest powers itself off. Once: it is never started again after it has ended. Halted: it is shut down, and keeps its disk and address.",
      ),
    terminationGracePeriodSeconds: z
      .int()
      .min(0)
      .max(3600)
      .default(60)
      .describe(
        "Seconds that the guest has to shut down once its power button (ACPI) is pressed. Then its power is cut; with 0 at once.",
      ),
    hostname: dnsLabel
      .optional()
      .describe(
        "Host name of the guest. Default: the machine's name with dashes for dots, cut to 63 characters.",
      ),
    cloudInit: z
      .object({
        userData: userData
          .optional()
          .describe(
            'User data for cloud-init, passed on as it is: "#cloud-config" and YAML, a "#!" script, or MIME multi-part. At most 65536 characters. Not for secrets: whoever may read the machine may read them.',
          ),
        userDataSecretRef: secretReference("userdata")
          .optional()
          .describe(
            "Secret that has the user data, in place of userData. It is read when the guest is first started.",
          ),
        networkDataSecretRef: secretReference("networkdata")
          .optional()
          .describe(
            "Secret that has the guest's network configuration (version 1 or 2), in place of the one that is made from its interfaces. Addresses that the machine was not given are refused by its node all the same.",
          ),
      })
      .optional()
      .describe(
        "What cloud-init is to do in the guest when it boots for the first time (NoCloud data source).",
      )
      .meta(
        rules({
          rule: "!(has(self.userData) && has(self.userDataSecretRef))",
          message: "at most one of userData and userDataSecretRef may be set",
        }),
      ),
    firmware: z
      .enum(firmwares)
      .default("BIOS")
      .describe("Firmware that the guest boots with: BIOS, or UEFI without Secure Boot."),
    tpm: z
      .boolean()
      .default(false)
      .describe("Whether the guest has a TPM 2.0, which its node emulates (swtpm)."),
    cpu: cpu.optional().describe("The virtual processor. A change holds from the next start."),
    hugePages: z
      .object({ pageSize: z.enum(hugePageSizes).describe("Size of a page.") })
      .optional()
      .describe(
        "Backs the guest's memory with huge pages, of which its node must have enough. A change holds from the next start.",
      ),
    graphics: z
      .array(z.enum(graphicsProtocols))
      .max(2)
      .default(["VNC"])
      .describe(
        "Protocols by which the screen is reached through the Kubernetes API; none: the guest has no screen. A change holds from the next start.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
    hostDevices: z
      .array(z.object({ name: text(253).describe("Name of the device.") }))
      .max(16)
      .default([])
      .describe("Devices of the node that are passed through to the guest. Not supported in this version.")
      .meta({
        "x-kubernetes-list-type": "atomic",
        ...rules({
          rule: "size(self) == 0",
          message: "devices of the node cannot be passed through in this version; leave hostDevices out",
          reason: "FieldValueForbidden",
        }),
      }),
    livenessProbe: livenessProbe.optional(),
    readinessProbe: readinessProbe.optional(),
    availabilityZone: labelValue
      .min(1)
      .optional()
      .describe(
        "Runs the machine only on nodes of this zone (status.zone of the Hypervisor). It counts when a node is chosen; a later change moves nothing.",
      ),
    nodeSelector: labelSelector
      .optional()
      .describe(
        "Runs the machine only on nodes whose Hypervisor has all of these labels. It counts when a node is chosen; a later change moves nothing.",
      ),
  })
  .describe("What the machine is to be. Only users write here; what the system chooses is in status.")
  .meta(
    rules(
      {
        rule: "has(self.flavor) || (has(self.vcpus) && has(self.memory) && has(self.disk))",
        message: "without a flavor, vcpus, memory and disk must all be set",
        fieldPath: ".flavor",
      },
      {
        rule: "!has(self.maxVcpus) || !has(self.vcpus) || self.maxVcpus >= self.vcpus",
        message: "maxVcpus must not be less than vcpus",
        fieldPath: ".maxVcpus",
      },
      {
        rule: "!has(self.maxMemory) || !has(self.memory) || quantity(self.maxMemory).compareTo(quantity(self.memory)) >= 0",
        message: "maxMemory must not be less than memory",
        fieldPath: ".maxMemory",
      },
      {
        rule: "!has(self.maxVcpus) || !has(self.cpu) || !has(self.cpu.topology) || self.cpu.topology.sockets * self.cpu.topology.cores * self.cpu.topology.threads == self.maxVcpus",
        message: "cpu.topology must lay out maxVcpus: sockets times cores times threads",
        fieldPath: ".cpu.topology",
      },
      { ...exactlyOneOf("image", "source"), fieldPath: ".image" },
      {
        rule: "!has(self.imageNamespace) || has(self.image)",
        message: "imageNamespace goes with image",
        fieldPath: ".imageNamespace",
      },
      ...immutableFields.map((field) =>
        unchangeableMember(
          field,
          `${field} cannot be changed after the machine was made; make another machine`,
        ),
      ),
    ),
  );
