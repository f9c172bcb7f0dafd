import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  byteCount,
  checksum,
  exactlyOne,
  objectName,
  observedGeneration,
  quantity,
  rules,
  unchangeable,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

export const imageFormats = ["qcow2", "raw"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export const imageCompressions = ["None", "Gzip", "Xz", "Zstd"] as const;
export type ImageCompression = (typeof imageCompressions)[number];

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
  })
  .describe("Where the image comes from: exactly one of url and file.")
  .meta(rules(exactlyOne("url", "file")));

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
    "What the image is. It cannot be changed, so that all machines of one image have the same content.",
  )
  .meta(rules(unchangeable("an image cannot be changed; make another one")));

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
    "A disk image that virtual machines of this namespace boot from. Each node fetches it once, when the first machine needs it there, and checks it before use.",
  spec,
  status,
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
