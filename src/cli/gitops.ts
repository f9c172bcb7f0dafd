import { z } from "zod";
import type { RawObject } from "../kube/index.ts";

/** A change that a command makes: "spec.runStrategy" becomes "Halted". */
export interface FieldChange {
  /** Path without indexes. */
  readonly path: string;
  readonly value: unknown;
}

/** Who else writes an object, and where it is told what to write. */
export interface OtherWriter {
  /** "Argo CD (application shop)". */
  readonly who: string;
  /** "the repository of application shop". */
  readonly where: string;
}

const metadataSchema = z.object({
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  ownerReferences: z
    .array(z.object({ kind: z.string(), name: z.string(), controller: z.boolean().default(false) }))
    .default([]),
  managedFields: z
    .array(
      z.object({
        manager: z.string().default(""),
        subresource: z.string().default(""),
        fieldsV1: z.unknown(),
      }),
    )
    .default([]),
});
type Metadata = z.infer<typeof metadataSchema>;

/** Managers that are a person at a keyboard (kubectl-patch, kubectl-client-side-apply, and we), or that nobody can tell. */
const PEOPLE = /^(kubectl(-[a-z-]+)?|before-first-apply|unknown)$/;

/** Those who write an object again and again, by the marks that they leave on it. */
export const standingWriters = ({
  labels,
  annotations,
  ownerReferences,
}: Metadata): readonly OtherWriter[] => {
  const writers: OtherWriter[] = [];
  const argo =
    annotations["argocd.argoproj.io/tracking-id"]?.split(":")[0] ?? labels["argocd.argoproj.io/instance"];
  if (argo !== undefined)
    writers.push({ who: `Argo CD (application ${argo})`, where: `the repository of application ${argo}` });
  const kustomization = qualified(labels, "kustomize.toolkit.fluxcd.io");
  if (kustomization !== undefined)
    writers.push({
      who: `Flux (Kustomization ${kustomization})`,
      where: `the source of Kustomization ${kustomization}`,
    });
  const fluxRelease = qualified(labels, "helm.toolkit.fluxcd.io");
  if (fluxRelease !== undefined)
    writers.push({
      who: `Flux (HelmRelease ${fluxRelease})`,
      where: `the values of HelmRelease ${fluxRelease}`,
    });
  else if (labels["app.kubernetes.io/managed-by"] === "Helm") {
    const release = annotations["meta.helm.sh/release-name"] ?? "unknown";
    writers.push({
      who: `Helm (release ${release})`,
      where: `the values or the chart of release ${release}`,
    });
  }
  const owner = ownerReferences.find(({ controller }) => controller);
  if (owner !== undefined)
    writers.push({
      who: `${owner.kind} ${owner.name}`,
      where: `the template of ${owner.kind} ${owner.name}`,
    });
  return writers;
};

const qualified = (labels: Metadata["labels"], prefix: string): string | undefined => {
  const name = labels[`${prefix}/name`];
  const namespace = labels[`${prefix}/namespace`];
  if (name === undefined) return undefined;
  return namespace === undefined ? name : `${namespace}/${name}`;
};

/** Programs that own a field and are no person's kubectl. */
export const ownersOf = ({ managedFields }: Metadata, path: string): readonly string[] => {
  const owners = managedFields
    .filter(({ subresource, manager }) => subresource === "" && !PEOPLE.test(manager))
    .filter(({ fieldsV1 }) => owns(fieldsV1, path.split(".")))
    .map(({ manager }) => manager);
  return [...new Set(owners)];
};

/** https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management */
const owns = (fields: unknown, [member, ...rest]: readonly string[]): boolean => {
  if (member === undefined) return true;
  if (typeof fields !== "object" || fields === null) return false;
  const below = (fields as Readonly<Record<string, unknown>>)[`f:${member}`];
  return below !== undefined && owns(below, rest);
};

/**
 * What the user should know before changing these fields: who else writes them,
 * and what to change there. Empty when nobody does.
 */
export const gitOpsWarnings = (
  what: string,
  object: Pick<RawObject, "metadata">,
  changes: readonly FieldChange[],
): readonly string[] => {
  if (changes.length === 0) return [];
  const metadata = metadataSchema.parse(object.metadata);
  const wanted = changes.map(({ path, value }) => `${path}: ${JSON.stringify(value)}`).join(", ");
  const standing = standingWriters(metadata).map(
    ({ who, where }) =>
      `${what} is managed by ${who}, which may undo this. To keep it, write ${wanted} in ${where}.`,
  );
  if (standing.length > 0) return standing;
  const owners = [...new Set(changes.flatMap(({ path }) => ownersOf(metadata, path)))];
  if (owners.length === 0) return [];
  return [
    `${what} has this from ${owners.join(" and ")}, which may undo it. To keep it, write ${wanted} there, too.`,
  ];
};
