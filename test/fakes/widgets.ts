import { z } from "zod";
import { objectMeta, type KubernetesObject } from "../../src/api/meta.ts";
import type { Resource } from "../../src/api/resource.ts";
import type { WritableObject } from "../../src/kube/client.ts";

/** A kind for tests of the runtime, which must not know Vireo's own. */
const widget = z.object({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: objectMeta,
  spec: z.object({ size: z.int().optional(), color: z.enum(["red", "green", "blue"]).optional() }).optional(),
  status: z
    .object({
      node: z.string().optional(),
      phase: z.string().optional(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).optional(),
    })
    .optional(),
});

export type Widget = KubernetesObject & Readonly<z.infer<typeof widget>>;

export const widgets: Resource<Widget> = {
  group: "test.vireo.dev",
  version: "v1",
  kind: "Widget",
  plural: "widgets",
  namespaced: true,
  parse: (raw) => widget.parse(raw),
};

/** The server takes any colour: so that objects exist which this program cannot read. */
export const widgetDefinition: WritableObject = {
  metadata: { name: "widgets.test.vireo.dev" },
  spec: {
    group: "test.vireo.dev",
    scope: "Namespaced",
    names: { kind: "Widget", listKind: "WidgetList", plural: "widgets", singular: "widget" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: { status: {} },
        selectableFields: [{ jsonPath: ".status.node" }],
        schema: { openAPIV3Schema: schema() },
      },
    ],
  },
};

function schema() {
  const text = { type: "string" };
  const condition = {
    type: "object",
    required: ["type", "status"],
    properties: { type: text, status: text, reason: text },
  };
  return {
    type: "object",
    properties: {
      spec: { type: "object", properties: { size: { type: "integer" }, color: text } },
      status: {
        type: "object",
        properties: {
          node: text,
          phase: text,
          conditions: {
            type: "array",
            items: condition,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
          },
        },
      },
    },
  };
}

interface AnyObject extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>> | undefined;
}
const anyObject = z.looseObject({ apiVersion: z.string(), kind: z.string(), metadata: objectMeta });

const anyResource = (
  names: Pick<Resource, "group" | "version" | "kind" | "plural" | "namespaced">,
): Resource<AnyObject> => ({ ...names, parse: (raw) => anyObject.parse(raw) });

export const configMaps = anyResource({
  group: "",
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
});

export const customResourceDefinitions = anyResource({
  group: "apiextensions.k8s.io",
  version: "v1",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
});

export const namespaces = anyResource({
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
});
