import { z } from "zod";
import { objectMeta, type KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { events } from "../kube/index.ts";
import { shortDuration } from "./duration.ts";
import { table } from "./print.ts";

const reference = z.object({
  kind: z.string().default(""),
  name: z.string().default(""),
  uid: z.string().default(""),
});

const schema = z.object({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: objectMeta,
  regarding: reference.default({ kind: "", name: "", uid: "" }),
  eventTime: z.string().nullish(),
  deprecatedLastTimestamp: z.string().nullish(),
  deprecatedCount: z.number().nullish(),
  series: z.object({ count: z.number(), lastObservedTime: z.string() }).nullish(),
  reason: z.string().default(""),
  type: z.string().default(""),
  note: z.string().default(""),
});

/** An event with what people are shown of it. */
export type ShownEvent = KubernetesObject & Readonly<z.infer<typeof schema>>;

export const shownEvents: Resource<ShownEvent> = { ...events, parse: (raw) => schema.parse(raw) };

/** When it was last seen, in ms since 1970. */
export const lastSeen = ({ series, eventTime, deprecatedLastTimestamp, metadata }: ShownEvent): number =>
  Date.parse(series?.lastObservedTime ?? eventTime ?? deprecatedLastTimestamp ?? metadata.creationTimestamp);

export const eventColumns = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"] as const;

/** Newest last. */
export const eventTable = (list: readonly ShownEvent[], now: number): string =>
  table(
    eventColumns,
    list.toSorted((one, other) => lastSeen(one) - lastSeen(other)).map((event) => eventRow(event, now)),
  );

export const eventRow = (event: ShownEvent, now: number): readonly string[] => {
  const count = event.series?.count ?? event.deprecatedCount ?? 1;
  const times = count > 1 ? ` (${count} times)` : "";
  return [
    shortDuration(now - lastSeen(event)),
    event.type,
    event.reason,
    `${event.regarding.kind}/${event.regarding.name}`,
    `${event.note}${times}`,
  ];
};
