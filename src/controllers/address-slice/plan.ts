import { type AddressSlice, MAX_SLICE_ENTRIES } from "../../api/address-slice.ts";

/** A list that is kept in slices: how its entries are told apart, and found in a slice. */
export interface SlicedList<Entry> {
  /** Two entries with the same key are the same entry, perhaps with other content. */
  readonly keyOf: (entry: Entry) => string;
  readonly entriesOf: (slice: AddressSlice) => readonly Entry[];
  /** Do two entries with the same key say the same? */
  readonly isSame: (a: Entry, b: Entry) => boolean;
}

/** A write to one slice; what it holds afterwards is given as a whole. */
export type SliceStep<Entry> =
  | { readonly kind: "create"; readonly entries: readonly Entry[] }
  | { readonly kind: "update"; readonly slice: AddressSlice; readonly entries: readonly Entry[] }
  | { readonly kind: "delete"; readonly slice: AddressSlice };

/** A slice and what is to be in it. */
interface Draft<Entry> {
  readonly slice: AddressSlice;
  readonly entries: Entry[];
  isChanged: boolean;
}

/**
 * The writes that make slices hold exactly the wanted entries, in the manner of
 * EndpointSlice: an entry stays in the slice that it is in and is changed there,
 * slices that have to be written anyway are filled first, and no entry is moved
 * to make slices fuller. So one change costs one write.
 * https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#distribution-of-endpointslices
 *
 * The order of slices and entries makes no difference.
 */
export const planSlices = <Entry>(
  list: SlicedList<Entry>,
  slices: readonly AddressSlice[],
  wanted: readonly Entry[],
): readonly SliceStep<Entry>[] => {
  const missing = new Map(wanted.map((entry) => [list.keyOf(entry), entry]));
  const drafts = slices.toSorted(byName).map((slice) => keepEntries(list, slice, missing));
  const homeless = [...missing.values()].toSorted((a, b) => (list.keyOf(a) < list.keyOf(b) ? -1 : 1));
  for (const draft of drafts.filter(({ isChanged }) => isChanged)) fill(draft, homeless);
  const created: Entry[][] = [];
  while (homeless.length > 0) {
    const roomy = homeless.length < MAX_SLICE_ENTRIES ? tightest(drafts, homeless.length) : undefined;
    if (roomy === undefined) created.push(homeless.splice(0, MAX_SLICE_ENTRIES));
    else fill(roomy, homeless);
  }
  return [
    ...created.map((entries) => ({ kind: "create", entries }) as const),
    ...drafts.filter(({ isChanged }) => isChanged).map(stepOf),
  ];
};

/** What of a slice stays, with the content that is wanted now. It is missing no longer. */
const keepEntries = <Entry>(
  { keyOf, entriesOf, isSame }: SlicedList<Entry>,
  slice: AddressSlice,
  missing: Map<string, Entry>,
): Draft<Entry> => {
  const stored = entriesOf(slice);
  const entries: Entry[] = [];
  let isChanged = stored.length === 0;
  for (const entry of stored) {
    const wish = missing.get(keyOf(entry));
    // Not wanted, or held by an earlier slice.
    if (wish === undefined) isChanged = true;
    else {
      missing.delete(keyOf(entry));
      entries.push(wish);
      isChanged ||= !isSame(entry, wish);
    }
  }
  return { slice, entries, isChanged };
};

const fill = <Entry>(draft: Draft<Entry>, homeless: Entry[]): void => {
  const added = homeless.splice(0, roomIn(draft));
  draft.entries.push(...added);
  draft.isChanged ||= added.length > 0;
};

const roomIn = <Entry>({ entries }: Draft<Entry>): number => MAX_SLICE_ENTRIES - entries.length;

/** Of the slices with room for so many the fullest, so that sparse ones can run empty. */
const tightest = <Entry>(drafts: readonly Draft<Entry>[], count: number): Draft<Entry> | undefined =>
  drafts
    .filter((draft) => roomIn(draft) >= count)
    .reduce<Draft<Entry> | undefined>(
      (best, draft) => (best === undefined || roomIn(draft) < roomIn(best) ? draft : best),
      undefined,
    );

const stepOf = <Entry>({ slice, entries }: Draft<Entry>): SliceStep<Entry> =>
  entries.length === 0 ? { kind: "delete", slice } : { kind: "update", slice, entries };

const byName = (a: AddressSlice, b: AddressSlice): number => (a.metadata.name < b.metadata.name ? -1 : 1);
