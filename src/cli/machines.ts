import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { virtualMachines, type VirtualMachine } from "../api/virtual-machine.ts";
import { nameOf, type Found } from "./cluster.ts";
import type { Invocation } from "./command.ts";
import { readDuration } from "./duration.ts";
import { CommandFailedError } from "./errors.ts";
import { untilDone } from "./follow.ts";
import { gitOpsWarnings, type FieldChange } from "./gitops.ts";
import type { Judge } from "./judge.ts";
import { render, withoutManagedFields, write, type OutputFormat } from "./print.ts";
import type { Session } from "./session.ts";
import { didYouMean } from "./suggest.ts";

/** The object of that name. Throws CommandFailedError, with the name that was probably meant. */
export const requireObject = async <T extends KubernetesObject>(
  session: Session,
  resource: Resource<T>,
  name: string,
): Promise<Found<T>> => {
  const cluster = await session.cluster();
  const found = await cluster.get(resource, name, session.signal);
  if (found !== undefined) return found;
  const others = await cluster.list(resource, { signal: session.signal }).catch(() => undefined);
  const names = (others?.items ?? []).map(({ object }) => object.metadata.name);
  throw new CommandFailedError(
    `there is no ${nameOf(resource, cluster.namespace, name)}${didYouMean(name, names)}; ` +
      `"kubectl get ${resource.plural}.${resource.group} --all-namespaces" lists those that there are`,
  );
};

export const requireMachine = (session: Session, name: string): Promise<Found<VirtualMachine>> =>
  requireObject(session, virtualMachines, name);

/** A machine in words: "VirtualMachine shop/web". */
export const machineName = ({ metadata }: VirtualMachine): string =>
  nameOf(virtualMachines, metadata.namespace ?? "", metadata.name);

export interface MachineChange {
  readonly found: Found<VirtualMachine>;
  /** JSON merge patch of the object. */
  readonly patch: Readonly<Record<string, unknown>>;
  /** The same in words, for those who also write the object. */
  readonly changes: readonly FieldChange[];
}

/** Writes a change of a machine's spec, as a manifest would; says before who may undo it. */
export const changeMachine = async (
  session: Session,
  invocation: Invocation,
  { found, patch, changes }: MachineChange,
): Promise<Found<VirtualMachine>> => {
  const cluster = await session.cluster();
  const { name } = found.object.metadata;
  for (const warning of gitOpsWarnings(machineName(found.object), found.raw, changes))
    session.say.warning(warning);
  const { signal } = session;
  const dryRun = invocation.isOn("dry-run");
  const raw = await cluster.patch(virtualMachines, name, patch, { dryRun, signal });
  return { raw, object: virtualMachines.parse(raw) };
};

/** Waits as the flags say; without --wait, or in a dry run, the object as it is. */
export const awaitObject = async <T extends KubernetesObject>(
  session: Session,
  invocation: Invocation,
  awaited: { readonly resource: Resource<T>; readonly found: Found<T>; readonly judge: Judge<T> },
): Promise<Found<T>> => {
  const timeoutMs = readDuration("timeout", invocation.text("timeout"));
  if (invocation.isOn("dry-run") || !invocation.isOn("wait")) return awaited.found;
  const { resource, judge, found } = awaited;
  return untilDone(session, { resource, name: found.object.metadata.name, judge, timeoutMs });
};

export const formatOf = (invocation: Invocation): OutputFormat => {
  const format = invocation.text("output");
  return format === "json" || format === "yaml" ? format : "table";
};

/** Prints what was done: a sentence for each object, or the objects. */
export const report = async (
  session: Session,
  invocation: Invocation,
  results: readonly { readonly raw: Found<KubernetesObject>["raw"]; readonly sentence: string }[],
): Promise<void> => {
  const suffix = invocation.isOn("dry-run") ? " (dry run: nothing was changed)" : "";
  const objects = results.map(({ raw }) => withoutManagedFields(raw));
  const value = objects.length === 1 ? objects[0] : { apiVersion: "v1", kind: "List", items: objects };
  const text = render(formatOf(invocation), value, () =>
    results.map(({ sentence }) => `${sentence}${suffix}\n`).join(""),
  );
  await write(session.host.stdout, text);
};
