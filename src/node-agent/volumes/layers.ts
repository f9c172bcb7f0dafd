import type { DiskRecord, Layer } from "./record.ts";

/** The tree of a disk's layers. Everything here is pure. */

export const layerNamed = ({ layers }: DiskRecord, name: string): Layer | undefined =>
  layers.find((layer) => layer.name === name);

export const childrenOf = ({ layers }: DiskRecord, name: string): readonly Layer[] =>
  layers.filter(({ parent }) => parent === name);

/** The layer and all those under it, from the top down. */
export const pathDown = (record: DiskRecord, top: string | undefined): readonly string[] => {
  const path: string[] = [];
  let name = top;
  // A record never has a loop; one that was tampered with must not hang the agent.
  while (name !== undefined && path.length < record.layers.length) {
    path.push(name);
    name = layerNamed(record, name)?.parent;
  }
  return path;
};

/** Whether the head or a snapshot is this layer. (A layer with two children is needed too, for their sake.) */
export const isNamed = ({ head, snapshots }: DiskRecord, name: string): boolean =>
  head === name || snapshots.some(({ layer }) => layer === name);

/** A name for a new layer: the UID, unless an earlier one of that name is still there. */
export const freeLayerName = ({ layers, doomed }: DiskRecord, uid: string): string => {
  const taken = (name: string): boolean =>
    layers.some((layer) => layer.name === name) || doomed.includes(`${name}.qcow2`);
  let name = uid;
  for (let number = 1; taken(name); number += 1) name = `${uid}-${number}`;
  return name;
};
