import type { CustomResource } from "../../../src/api/kind.ts";
import { refusalOf, type Reply } from "./api-client.ts";
import type { TestCluster } from "./cluster.ts";
import type { JsonObject } from "./manifests.ts";

/** The sentence, what is merged into the spec of a good manifest, the field that the refusal must name. */
export type BadSpec = readonly [string, JsonObject, string];

/** Whether the API server would take it: nothing is stored. */
export const tryToCreate = (
  cluster: TestCluster,
  resource: CustomResource,
  manifest: JsonObject,
): Promise<Reply> =>
  cluster.administrator.call({
    method: "POST",
    path: `${cluster.pathOf(resource)}?dryRun=All&fieldValidation=Strict`,
    body: manifest,
  });

const isWithin = (named: string, field: string): boolean =>
  named === field || named.startsWith(`${field}.`) || named.startsWith(`${field}[`);

/** "refused for <field>", or what happened instead. */
export const outcomeOf = (reply: Reply, field: string): string => {
  const refusal = refusalOf(reply);
  if (refusal === undefined) return "taken";
  const { fields, message } = refusal;
  const named = fields.some((name) => isWithin(name, field)) || message.includes(`unknown field "${field}`);
  return named ? `refused for ${field}` : `refused without naming ${field}: ${message}`;
};

export const longName = (length: number): string => "a".repeat(length);
