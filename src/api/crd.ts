import type { CustomResource, PrinterColumn } from "./kind.ts";
import { GROUP, VERSION } from "./kind.ts";
import { type StructuralSchema, structuralSchema } from "./structural-schema.ts";

/** All kinds of Vireo are in this category: `kubectl get vireo`. */
export const CATEGORY = "vireo";

/** apiextensions.k8s.io/v1 CustomResourceDefinition, as far as Vireo uses it. */
export interface CustomResourceDefinition {
  readonly apiVersion: "apiextensions.k8s.io/v1";
  readonly kind: "CustomResourceDefinition";
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: "Namespaced" | "Cluster";
    readonly names: {
      readonly kind: string;
      readonly listKind: string;
      readonly plural: string;
      readonly singular: string;
      readonly shortNames?: readonly string[];
      readonly categories: readonly string[];
    };
    readonly versions: readonly [CustomResourceVersion];
  };
}

export interface CustomResourceVersion {
  readonly name: string;
  readonly served: true;
  readonly storage: true;
  readonly subresources: { readonly status: Readonly<Record<string, never>> };
  readonly additionalPrinterColumns: readonly PrinterColumn[];
  readonly selectableFields?: readonly { readonly jsonPath: string }[];
  readonly schema: { readonly openAPIV3Schema: StructuralSchema };
}

/** Descriptions of what every object has; kubectl explain shows them. */
const objectMembers = {
  apiVersion: {
    description: `Version of the schema that this object is written in: ${GROUP}/${VERSION}.`,
    type: "string",
  },
  kind: { description: "Kind of the object, in CamelCase.", type: "string" },
  metadata: { type: "object" },
} as const satisfies Record<string, StructuralSchema>;

/** kubectl explain shows no defaults, so the descriptions say them. */
const withDefaultsInWords = (schema: StructuralSchema): StructuralSchema => {
  const { description, properties, items } = schema;
  const value: unknown = schema.default;
  const worthSaying = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return {
    ...schema,
    ...(description !== undefined && worthSaying ? { description: `${description} Default: ${value}.` } : {}),
    ...(items === undefined ? {} : { items: withDefaultsInWords(items) }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, member]) => [name, withDefaultsInWords(member)]),
          ),
        }),
  };
};

const objectSchema = ({ definition }: CustomResource): StructuralSchema => {
  const spec = structuralSchema(definition.spec, `${definition.kind}.spec`);
  return {
    description: definition.description,
    type: "object",
    properties: {
      ...objectMembers,
      spec,
      status: structuralSchema(definition.status, `${definition.kind}.status`),
    },
    // A spec that may be left out has a default, as any member.
    required: "default" in spec ? ["metadata"] : ["metadata", "spec"],
  };
};

/**
 * The CustomResourceDefinition of a kind.
 *
 * Throws NotStructuralError when its zod schema says what a CRD cannot.
 */
export const customResourceDefinition = (resource: CustomResource): CustomResourceDefinition => {
  const { definition, group, version } = resource;
  const { kind, plural, singular, scope, shortNames, selectableFields, columns } = definition;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular,
        ...(shortNames.length === 0 ? {} : { shortNames }),
        categories: [CATEGORY],
      },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          ...(selectableFields === undefined
            ? {}
            : { selectableFields: selectableFields.map((jsonPath) => ({ jsonPath })) }),
          schema: { openAPIV3Schema: withDefaultsInWords(objectSchema(resource)) },
        },
      ],
    },
  };
};
