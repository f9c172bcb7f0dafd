import { z } from "zod";
import { type KubernetesObject, objectMeta } from "./meta.ts";
import type { Resource } from "./resource.ts";
import { withWholeNumbers } from "./whole-numbers.ts";

export const GROUP = "vireo.dev";
export const VERSION = "v1alpha1";

/** A column of `kubectl get`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date" | "boolean";
  readonly jsonPath: string;
  readonly description: string;
  /** 0 (default): always shown. 1: shown by `-o wide`. */
  readonly priority?: 0 | 1;
}

/** One kind of the API: the source of its types, its CustomResourceDefinition and its reference page. */
export interface KindDefinition<Spec extends z.ZodType, Status extends z.ZodType> {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly scope: "Namespaced" | "Cluster";
  /** What `kubectl explain <kind>` says first. */
  readonly description: string;
  readonly spec: Spec;
  readonly status: Status;
  readonly columns: readonly PrinterColumn[];
  /** JSON paths by which a client may ask the API server to filter (KEP-4358). */
  readonly selectableFields?: readonly string[];
}

export interface CustomObject<Spec, Status> extends KubernetesObject {
  readonly spec: Spec;
  readonly status?: Status | undefined;
}

/** A kind of vireo.dev: addressable as a Resource, with its definition beside it. */
export interface CustomResource<
  Spec extends z.ZodType = z.ZodType,
  Status extends z.ZodType = z.ZodType,
> extends Resource<CustomObject<z.output<Spec>, z.output<Status>>> {
  readonly definition: KindDefinition<Spec, Status>;
}

/** The typed object of a CustomResource: `type Flavor = ObjectOf<typeof flavors>`. */
export type ObjectOf<R> = R extends Resource<infer T> ? T : never;

/**
 * Makes a kind out of its definition. Parsing drops unknown fields, so that an
 * older program reads a newer object; the API server has refused bad ones before.
 */
export const defineKind = <Spec extends z.ZodType, Status extends z.ZodType>(
  definition: KindDefinition<Spec, Status>,
): CustomResource<Spec, Status> => {
  const schema = z.object({
    apiVersion: z.string(),
    kind: z.literal(definition.kind),
    metadata: objectMeta,
    spec: definition.spec,
    status: definition.status.optional(),
  });
  return {
    group: GROUP,
    version: VERSION,
    kind: definition.kind,
    plural: definition.plural,
    namespaced: definition.scope === "Namespaced",
    definition,
    parse: (raw) => {
      const asStored = schema.safeParse(raw);
      // Hardly ever, and then an object that cannot be read would block its controller for good.
      const data = asStored.success ? asStored.data : schema.parse(withWholeNumbers(raw));
      return data as CustomObject<z.output<Spec>, z.output<Status>>;
    },
  };
};
