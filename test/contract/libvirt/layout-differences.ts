import type { Layout } from "../../../src/libvirt/xdr.ts";

/**
 * Sentences on where our layout is not libvirt's; none when they agree.
 *
 * A limit of ours may be higher: libvirt only ever raises its own, and this
 * client has to get along with the newer ones too.
 */
export const differences = (ours: Layout, theirs: Layout, path = "it"): string[] => {
  if (ours.kind === "struct" && theirs.kind === "struct") {
    return inPairs(ours.fields, theirs.fields, path, (name) => `${path}.${name}`);
  }
  if (ours.kind === "union" && theirs.kind === "union") {
    return inPairs(ours.arms, theirs.arms, path, (tag) => `${path}.case ${tag}`);
  }
  if (ours.kind === "optional" && theirs.kind === "optional") {
    return differences(ours.of, theirs.of, `*${path}`);
  }
  if (ours.kind === "list" && theirs.kind === "list") {
    return [...limit(ours.max, theirs.max, path), ...differences(ours.of, theirs.of, `${path}<>`)];
  }
  if (ours.kind === "string" && theirs.kind === "string") return limit(ours.max, theirs.max, path);
  if (ours.kind === "bytes" && theirs.kind === "bytes") return limit(ours.max, theirs.max, path);
  if (ours.kind === "array" && theirs.kind === "array" && ours.length === theirs.length) {
    return differences(ours.of, theirs.of, `${path}[]`);
  }
  return JSON.stringify(ours) === JSON.stringify(theirs)
    ? []
    : [`${path} is ${JSON.stringify(theirs)} in libvirt and ${JSON.stringify(ours)} here`];
};

const limit = (ours: number, theirs: number, path: string): string[] =>
  ours >= theirs ? [] : [`${path} may have ${theirs} in libvirt and ${ours} here`];

type Member = readonly [name: string | number, layout: Layout];

const inPairs = (
  ours: readonly Member[],
  theirs: readonly Member[],
  path: string,
  pathOf: (name: string | number) => string,
): string[] => {
  const names = (members: readonly Member[]): string => members.map(([name]) => name).join(", ");
  if (names(ours) !== names(theirs))
    return [`${path} has ${names(theirs)} in libvirt and ${names(ours)} here`];
  return ours.flatMap(([name, layout], index) => {
    const other = theirs[index];
    return other === undefined ? [] : differences(layout, other[1], pathOf(name));
  });
};
