import { z } from "zod";
import { conditions } from "./condition.ts";
import { observedGeneration, quantity, rules } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

const spec = z
  .object({
    vcpus: z.int().min(1).max(256).describe("Number of virtual CPUs."),
    memory: quantity
      .describe("Memory of the guest, for example 512Mi or 4Gi. At least 64Mi; a whole number of MiB.")
      .meta(
        rules({
          rule: "quantity(self).compareTo(quantity('64Mi')) >= 0 && quantity(self).asInteger() % 1048576 == 0",
          message: "memory must be at least 64Mi and a whole number of MiB",
        }),
      ),
    disk: quantity
      .describe("Size of the root disk, for example 10Gi. The image must fit in it; at least 64Mi.")
      .meta(
        rules({
          rule: "quantity(self).compareTo(quantity('64Mi')) >= 0 && quantity(self).asInteger() % 1048576 == 0",
          message: "disk must be at least 64Mi and a whole number of MiB",
        }),
      ),
  })
  .describe("The shape of the machines of this flavor. It cannot be changed: make another flavor instead.")
  .meta(rules({ rule: "self == oldSelf", message: "a flavor cannot be changed; make another one" }));

const status = z.object({ observedGeneration, conditions });

export const flavors = defineKind({
  kind: "Flavor",
  plural: "flavors",
  singular: "flavor",
  shortNames: [],
  scope: "Cluster",
  description: "A size of virtual machine that users choose by name: virtual CPUs, memory, root disk.",
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
      description: "Usable",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type Flavor = ObjectOf<typeof flavors>;
