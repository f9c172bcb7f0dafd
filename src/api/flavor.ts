import { z } from "zod";
import { conditions } from "./condition.ts";
import { observedGeneration, rules, unchangeable, wholeMebibytes } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

const spec = z
  .object({
    vcpus: z.int().min(1).max(256).describe("Number of virtual CPUs, 1 to 256."),
    maxVcpus: z
      .int()
      .min(1)
      .max(256)
      .optional()
      .describe(
        "How many virtual CPUs a running machine of this flavor can be given. Default: four times vcpus, at most 256.",
      ),
    maxMemory: wholeMebibytes("64Mi", "16Ti")
      .optional()
      .describe("How much memory a running machine of this flavor can be given. Default: memory."),
    memory: wholeMebibytes("64Mi", "16Ti").describe(
      "Memory of the guest, for example 512Mi or 4Gi: a whole number of MiB, at least 64Mi.",
    ),
    disk: wholeMebibytes("64Mi", "64Ti").describe(
      "Size of the root disk, for example 10Gi: a whole number of MiB, at least 64Mi. The image must fit in it.",
    ),
  })
  .describe("The size of the machines of this flavor. It cannot be changed: make another flavor instead.")
  .meta(
    rules(
      unchangeable("a flavor cannot be changed; make another one"),
      {
        rule: "!has(self.maxVcpus) || self.maxVcpus >= self.vcpus",
        message: "maxVcpus must not be less than vcpus",
        fieldPath: ".maxVcpus",
      },
      {
        rule: "!has(self.maxMemory) || quantity(self.maxMemory).compareTo(quantity(self.memory)) >= 0",
        message: "maxMemory must not be less than memory",
        fieldPath: ".maxMemory",
      },
    ),
  );

const status = z.object({ observedGeneration, conditions }).describe("Whether machines may use the flavor.");

export const flavors = defineKind({
  kind: "Flavor",
  plural: "flavors",
  singular: "flavor",
  shortNames: [],
  scope: "Cluster",
  description: "A size of virtual machine, chosen by name: virtual CPUs, memory and root disk.",
  spec,
  status,
  columns: [
    { name: "VCPUS", type: "integer", jsonPath: ".spec.vcpus", description: "Virtual CPUs" },
    { name: "MEMORY", type: "string", jsonPath: ".spec.memory", description: "Memory" },
    { name: "DISK", type: "string", jsonPath: ".spec.disk", description: "Root disk" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether machines may use it",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type Flavor = ObjectOf<typeof flavors>;
