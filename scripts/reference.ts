import type { CustomResource } from "../src/api/kind.ts";
import { apiVersionOf } from "../src/api/resource.ts";
import { type StructuralSchema, structuralSchema } from "../src/api/structural-schema.ts";

/**
 * Renders the API reference of one kind as Markdown, from the schema that the
 * API server has: one table row for each field, then what is checked beyond types.
 */

interface Field {
  readonly path: string;
  readonly schema: StructuralSchema;
  readonly required: boolean;
}

const membersOf = (path: string, schema: StructuralSchema): readonly Field[] =>
  Object.entries(schema.properties ?? {}).map(([name, member]) => ({
    path: `${path}.${name}`,
    schema: member,
    required: schema.required?.includes(name) ?? false,
  }));

/** A field, then all fields within it, in the order of the source. */
const withDescendants = (field: Field): readonly Field[] => {
  const { items } = field.schema;
  const inner =
    items === undefined ? membersOf(field.path, field.schema) : membersOf(`${field.path}[]`, items);
  return [field, ...inner.flatMap(withDescendants)];
};

const code = (text: string): string => `\`${text}\``;

/** Within a table a bar ends the cell, in code as well. */
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

const range = (minimum: number | undefined, maximum: number | undefined, unit: string): string => {
  const shownMinimum = minimum === undefined || minimum === 0 ? undefined : minimum;
  const shownMaximum = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (shownMaximum === undefined)
    return shownMinimum === undefined ? "" : `, at least ${shownMinimum}${unit}`;
  if (minimum !== undefined && minimum === maximum) return `, exactly ${minimum}${unit}`;
  return minimum === undefined ? `, at most ${maximum}${unit}` : `, ${minimum} to ${maximum}${unit}`;
};

const listKind = (schema: StructuralSchema): string => {
  const keys = schema["x-kubernetes-list-map-keys"];
  if (Array.isArray(keys)) return `, one for each ${keys.map((key) => code(String(key))).join(", ")}`;
  return schema["x-kubernetes-list-type"] === "set" ? ", no value twice" : "";
};

const stringType = (schema: StructuralSchema): string => {
  if (schema.enum !== undefined) return schema.enum.map(code).join(", ");
  return `string${range(schema.minLength, schema.maxLength, " characters")}`;
};

const typeText = (schema: StructuralSchema): string => {
  switch (schema.type) {
    case "string":
      return stringType(schema);
    case "integer":
      return `integer${range(schema.minimum, schema.maximum, "")}`;
    case "array":
      return `list of ${schema.items === undefined ? "" : typeText(schema.items)}; entries${range(
        schema.minItems,
        schema.maxItems,
        "",
      ).replace(",", ":")}${listKind(schema)}`;
    case "object":
      return schema.additionalProperties === undefined
        ? "object"
        : `map of string to ${typeText(schema.additionalProperties)}${range(undefined, schema.maxProperties, " entries")}`;
    case "boolean":
      return "boolean";
  }
};

const row = ({ path, schema, required }: Field): string => {
  const value: unknown = schema.default;
  const fallback = value === undefined ? "" : code(typeof value === "string" ? value : JSON.stringify(value));
  const cells = [code(path), typeText(schema), required ? "required" : fallback, schema.description ?? ""];
  return `| ${cells.map(cell).join(" | ")} |`;
};

interface Check {
  readonly path: string;
  readonly text: string;
}

const isRule = (value: unknown): value is { readonly message: string; readonly fieldPath?: string } =>
  typeof value === "object" && value !== null && "message" in value;

const ownChecksOf = ({ path, schema }: Omit<Field, "required">): readonly Check[] => {
  const rules: unknown = schema["x-kubernetes-validations"];
  const ruleChecks = (Array.isArray(rules) ? rules : [])
    .filter(isRule)
    .map((rule) => ({ path: `${path}${rule.fieldPath ?? ""}`, text: rule.message }));
  const pattern = schema.pattern ?? schema.additionalProperties?.pattern;
  return pattern === undefined ? ruleChecks : [{ path, text: `matches ${code(pattern)}` }, ...ruleChecks];
};

const checksOf = ({ path, schema }: Field): readonly Check[] => {
  const { items } = schema;
  return [
    ...ownChecksOf({ path, schema }),
    // Items that are objects have rows, and checks, of their own.
    ...(items === undefined || items.type === "object"
      ? []
      : ownChecksOf({ path: `${path}[]`, schema: items })),
  ];
};

/** One line for each distinct check, with all fields that it is made on. */
const checkLines = (fields: readonly Field[]): readonly string[] => {
  const paths = new Map<string, readonly string[]>();
  for (const { path, text } of fields.flatMap(checksOf)) {
    paths.set(text, [...(paths.get(text) ?? []), path]);
  }
  return [...paths].map(([text, list]) => `- ${list.map(code).join(", ")}: ${text}`);
};

const section = (name: "spec" | "status", schema: StructuralSchema): readonly string[] => {
  const fields = withDescendants({ path: name, schema, required: false }).slice(1);
  const own = { path: name, schema, required: false };
  const checks = name === "spec" ? checkLines([own, ...fields]) : [];
  return [
    `## ${name}`,
    "",
    ...(schema.description === undefined ? [] : [schema.description, ""]),
    "| Field | Type | Required, or default | Description |",
    "|---|---|---|---|",
    ...fields.map(row),
    "",
    ...(checks.length === 0 ? [] : ["The API server also checks:", "", ...checks, ""]),
  ];
};

const facts = (resource: CustomResource): readonly string[] => {
  const { definition } = resource;
  const shortNames = definition.shortNames.map(code).join(", ");
  const selectable = (definition.selectableFields ?? []).map((path) => code(path.slice(1))).join(", ");
  return [
    `- apiVersion: ${code(apiVersionOf(resource))}, kind: ${code(definition.kind)}`,
    `- scope: ${definition.scope === "Cluster" ? "the cluster" : "a namespace"}`,
    `- kubectl: ${code(`${definition.plural}.${resource.group}`)}${shortNames === "" ? "" : `, short ${shortNames}`}`,
    ...(selectable === "" ? [] : [`- field selectors: ${selectable}`]),
  ];
};

const columnLines = (resource: CustomResource): readonly string[] => [
  "## Columns of kubectl get",
  "",
  "| Column | Shows | Field |",
  "|---|---|---|",
  ...resource.definition.columns.map(({ name, description, jsonPath, priority }) => {
    const shown = priority === 1 ? `${description} (with ${code("-o wide")})` : description;
    return `| ${[name, shown, code(jsonPath.slice(1))].map(cell).join(" | ")} |`;
  }),
  "",
];

/** The file name of a kind's page. */
export const pageName = (resource: CustomResource): string => `${resource.definition.singular}.md`;

/** The reference page of a kind. */
export const referencePage = (resource: CustomResource): string => {
  const { definition } = resource;
  return [
    `# ${definition.kind}`,
    "",
    definition.description,
    "",
    ...facts(resource),
    "",
    ...section("spec", structuralSchema(definition.spec, "spec")),
    ...section("status", structuralSchema(definition.status, "status")),
    ...columnLines(resource),
  ].join("\n");
};

/** The list of all kinds that links their pages. */
export const referenceIndex = (resources: readonly CustomResource[]): string =>
  [
    "# API reference",
    "",
    "The same text is in the cluster: `kubectl explain virtualmachine.spec`.",
    "",
    "| Kind | Scope | What it is |",
    "|---|---|---|",
    ...resources.map(({ definition, ...resource }) => {
      const link = `[${definition.kind}](${pageName({ definition, ...resource })})`;
      return `| ${[link, definition.scope, definition.description].map(cell).join(" | ")} |`;
    }),
    "",
  ].join("\n");
