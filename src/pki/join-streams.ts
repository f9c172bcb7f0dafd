import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";

/** More than two pipelines put on one stream. */
const PIPELINE_LISTENERS = 20;

/**
 * Joins two streams: what one says the other hears, with back-pressure both
 * ways; when one has said its last, the other is told so and may go on talking.
 * Resolves when both have ended, or as soon as either breaks; then both are
 * destroyed. How the end came makes no difference.
 */
export const joinStreams = async (one: Duplex, other: Duplex): Promise<void> => {
  // A stream that is both ends of two pipelines is listened to from many sides; that is no leak.
  for (const stream of [one, other]) stream.setMaxListeners(stream.getMaxListeners() + PIPELINE_LISTENERS);
  await Promise.all([pipeline(one, other), pipeline(other, one)]).catch(() => {});
  one.destroy();
  other.destroy();
};
