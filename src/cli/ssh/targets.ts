import { UsageError } from "../errors.ts";
import { readMachineName, readName } from "../names.ts";

/** "root@web" or "web". */
export interface Login {
  readonly user: string | undefined;
  readonly machine: string;
}

/** Throws UsageError. */
export const readLogin = (text: string): Login => {
  const at = text.lastIndexOf("@");
  return {
    user: at === -1 ? undefined : readUser(text.slice(0, at)),
    machine: readMachineName(text.slice(at + 1)),
  };
};

/** What ssh would not take for an option or for part of something else. Throws UsageError. */
export const readUser = (text: string): string => {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,254}$/.test(text)) return text;
  throw new UsageError(`${JSON.stringify(text)} is not a user name`);
};

/** A place that scp copies from or to. */
export type CopyPlace =
  | { readonly kind: "local"; readonly path: string }
  | { readonly kind: "remote"; readonly login: Login; readonly path: string };

/** As scp has it: remote is what has a colon before the first slash. Throws UsageError. */
export const readCopyPlace = (text: string): CopyPlace => {
  const match = /^(?:([^/:@]+)@)?([^/:@]+):(.*)$/su.exec(text);
  if (match === null) return { kind: "local", path: text };
  const [, user, machine = "", path = ""] = match;
  return {
    kind: "remote",
    login: { user: user === undefined ? undefined : readUser(user), machine: readName("VM", machine) },
    path,
  };
};

/** The one machine that all remote places are on. Throws UsageError. */
export const machineOf = (places: readonly CopyPlace[]): string => {
  const machines = new Set(places.flatMap((place) => (place.kind === "remote" ? [place.login.machine] : [])));
  const [machine, ...others] = machines;
  if (machine === undefined)
    throw new UsageError("none of the places is a machine's: write VM:PATH for the one that is");
  if (others.length > 0)
    throw new UsageError(`files go to or from one machine at a time, not ${[...machines].join(" and ")}`);
  return machine;
};
