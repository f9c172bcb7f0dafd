import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  byteCount,
  checksum,
  diskReference,
  dnsLabel,
  exactlyOneOf,
  objectName,
  observedGeneration,
  quantity,
  rules,
  unchangeableMember,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

export const imageFormats = ["qcow2", "raw"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export const imageCompressions = ["None", "Gzip", "Xz", "Zstd"] as const;
export type ImageCompression = (typeof imageCompressions)[number];

export const imageVisibilities = ["Private", "Shared", "Public"] as const;
export type ImageVisibility = (typeof imageVisibilities)[number];

/** What decides about an image's content. */
const contentFields = [
  "source",
  "format",
  "compression",
  "checksum",
  "minimumDisk",
  "minimumMemory",
] as const;

/** http or https, a host, perhaps a port, path and query; printable ASCII. No user name, no fragment. */
export const imageUrl = z
  .string()
  .max(2048)
  .regex(/^https?:\/\/([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][!-"$-[\]-~]*)?$/);

/** One name in a directory: no slash, and no dot or dash in front. */
export const imageFile = z
  .string()
  .max(255)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);

export const imageSource = z
  .object({
    url: imageUrl
      .optional()
      .describe(
        "Address that each node downloads the image from, by http or https. No user name and password: whoever may read the image may read them. Hosts on loopback, link-local and node addresses are refused unless the administrator allows them.",
      ),
    file: imageFile
      .optional()
      .describe(
        "Name of a file in the import directory of each node, which the administrator chooses. A plain file name, without directories.",
      ),
    virtualMachine: objectName
      .optional()
      .describe(
        "Name of a VirtualMachine in this namespace, whose root disk becomes the image as it is at this moment. Later the image does not need the machine.",
      ),
    snapshot: objectName
      .optional()
      .describe("Name of a VirtualMachineSnapshot in this namespace, whose root disk becomes the image."),
    volume: objectName
      .optional()
      .describe("Name of a Volume in this namespace, which becomes the image as it is at this moment."),
  })
  .describe("Where the image comes from: exactly one of url, file, virtualMachine, snapshot and volume.")
  .meta(rules(exactlyOneOf("url", "file", "virtualMachine", "snapshot", "volume")));

const spec = z
  .object({
    source: imageSource,
    format: z
      .enum(imageFormats)
      .describe(
        "Format of the disk image: qcow2 or raw. It is never guessed: content of another format is refused.",
      ),
    compression: z
      .enum(imageCompressions)
      .default("None")
      .describe("How the whole file is compressed: None, Gzip, Xz or Zstd. Each node unpacks it once."),
    checksum: checksum
      .optional()
      .describe(
        'Digest of the file as it is served, before it is unpacked: "sha256:" or "sha512:" and lower-case hexadecimal digits. Other content is refused. Without a checksum each node takes what the source serves it.',
      ),
    visibility: z
      .enum(imageVisibilities)
      .default("Private")
      .describe(
        "Who may use the image. Private: machines and volumes of this namespace. Shared: also those of the namespaces in sharedWith. Public: all. Whoever may not is told that there is no such image.",
      ),
    sharedWith: z
      .array(dnsLabel)
      .max(64)
      .default([])
      .describe("Namespaces that may use the image beside its own, when its visibility is Shared.")
      .meta({ "x-kubernetes-list-type": "set" }),
    minimumDisk: quantity
      .optional()
      .describe(
        "Smallest root disk that the image works with, for example 2Gi. Machines of smaller flavors are not started.",
      ),
    minimumMemory: quantity
      .optional()
      .describe(
        "Smallest memory that the image works with, for example 256Mi. Machines of smaller flavors are not started.",
      ),
  })
  .describe(
    "What the image is. Only who may use it can be changed, so that all machines of one image have the same content.",
  )
  .meta(
    rules(
      ...contentFields.map((member) =>
        unchangeableMember(member, `${member} cannot be changed; make another image`),
      ),
      {
        rule: "has(self.source.url) || has(self.source.file) || (self.format == 'qcow2' && self.compression == 'None')",
        message: "an image of a machine, a snapshot or a volume has format qcow2 and no compression",
        fieldPath: ".format",
      },
      {
        rule: "self.visibility == 'Shared' || self.sharedWith.size() == 0",
        message: "sharedWith goes with visibility Shared",
        fieldPath: ".sharedWith",
      },
    ),
  );

const status = z
  .object({
    observedGeneration,
    conditions,
    nodes: z
      .array(objectName)
      .max(5000)
      .optional()
      .describe("Names of the nodes that hold the image in their cache.")
      .meta({ "x-kubernetes-list-type": "set" }),
    sizeBytes: byteCount.optional().describe("Bytes that the image takes in a node's cache."),
    virtualSizeBytes: byteCount
      .optional()
      .describe("Bytes of the disk that a guest sees; a flavor's disk must not be smaller."),
    checksum: checksum.optional().describe("SHA-256 of the file that the nodes have fetched."),
    origin: z
      .object({
        nodeName: objectName.describe(
          "Name of the node that makes the image, and that the others fetch it from.",
        ),
        disk: diskReference.describe("The disk that is copied."),
      })
      .optional()
      .describe("Where an image is made whose source is a machine, a snapshot or a volume."),
  })
  .describe("What the nodes that have fetched the image report of it.");

/** Reasons of Ready=False that only another Image can cure; as reported by node agents. */
export const imageRefusals = [
  "BackingFile",
  "ExternalDataFile",
  "ChecksumMismatch",
  "FormatMismatch",
  "Truncated",
  "Corrupt",
  "UnknownFeature",
  "TooLarge",
  "DecompressionFailed",
  "AddressRefused",
  "RedirectRefused",
  "NotFound",
] as const;
export type ImageRefusal = (typeof imageRefusals)[number];

export const images = defineKind({
  kind: "Image",
  plural: "images",
  singular: "image",
  shortNames: [],
  scope: "Namespaced",
  description:
    "A disk image that virtual machines boot from: of this namespace, or of others that it is shared with. Each node fetches it once, when the first machine needs it there, and checks it before use.",
  spec,
  status,
  selectableFields: [".status.origin.nodeName"],
  columns: [
    { name: "FORMAT", type: "string", jsonPath: ".spec.format", description: "Format" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether machines may use it",
    },
    {
      name: "REASON",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].reason",
      description: "Why it is or is not ready",
    },
    {
      name: "NODES",
      type: "string",
      jsonPath: ".status.nodes",
      description: "Nodes that hold it",
      priority: 1,
    },
    { name: "URL", type: "string", jsonPath: ".spec.source.url", description: "Source", priority: 1 },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type Image = ObjectOf<typeof images>;
