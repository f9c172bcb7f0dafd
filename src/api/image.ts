import { z } from "zod";
import { conditions } from "./condition.ts";
import { byteCount, checksum, objectName, observedGeneration, quantity, rules } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

export const imageFormats = ["qcow2", "raw"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export const imageCompressions = ["None", "Gzip", "Xz", "Zstd"] as const;
export type ImageCompression = (typeof imageCompressions)[number];

export const imageSource = z
  .object({
    url: z
      .string()
      .min(1)
      .max(2048)
      .regex(/^https?:\/\/[^\s\\]+$/)
      .optional()
      .describe(
        "Where each node downloads the image from, by http or https. Loopback, link-local and node addresses are refused unless the administrator allows them.",
      ),
    file: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
      .optional()
      .describe(
        "Name of a file in the import directory of each node, which the administrator names. A plain file name: no directories.",
      ),
  })
  .describe("Where the image comes from: exactly one of url and file.")
  .meta(
    rules({ rule: "has(self.url) != has(self.file)", message: "exactly one of url and file must be set" }),
  );

const spec = z
  .object({
    source: imageSource,
    format: z
      .enum(imageFormats)
      .describe("Format of the disk image. It is never guessed: a content of another format is refused."),
    compression: z
      .enum(imageCompressions)
      .default("None")
      .describe(
        "How the file is compressed as a whole: None, Gzip, Xz or Zstd. It is unpacked once on each node.",
      ),
    checksum: checksum
      .optional()
      .describe(
        'Digest of the file as it is served (before decompression), "sha256:…" or "sha512:…". Another content is refused. Without it, whatever the source serves is taken.',
      ),
    minimumDisk: quantity
      .optional()
      .describe("Smallest root disk that this image works with, for example 2Gi."),
    minimumMemory: quantity
      .optional()
      .describe("Smallest memory that this image works with, for example 256Mi."),
  })
  .describe(
    "What the image is. It cannot be changed, so that all machines of one image have the same content.",
  )
  .meta(rules({ rule: "self == oldSelf", message: "an image cannot be changed; make another one" }));

const status = z.object({
  observedGeneration,
  conditions,
  nodes: z
    .array(objectName)
    .max(5000)
    .optional()
    .describe("Names of the nodes that hold this image in their cache.")
    .meta({ "x-kubernetes-list-type": "set" }),
  sizeBytes: byteCount.optional().describe("Bytes that the image takes in a node's cache."),
  virtualSizeBytes: byteCount
    .optional()
    .describe("Bytes of the disk that a guest sees; a flavor's disk must not be smaller."),
  checksum: checksum.optional().describe("Digest of the file that nodes have fetched."),
});

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
