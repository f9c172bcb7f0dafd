import type { CachedImageStatus } from "../../api/hypervisor.ts";
import type { ImageRefusal } from "../../api/image.ts";
import { type FetchFailed, ImageRefused } from "./failure.ts";
import type { StoredImage } from "./image-store.ts";
import type { FetchFailure } from "./types.ts";

/** What is known of an image after an attempt to fetch it. Times are in milliseconds since the epoch. */
export type Verdict =
  | { readonly kind: "ready"; readonly image: StoredImage }
  | {
      readonly kind: "refused";
      readonly reason: ImageRefusal;
      readonly message: string;
      /** When the source may be asked again; never where its answer cannot change the verdict for less than a whole download. */
      readonly retryAt: number | undefined;
    }
  | {
      readonly kind: "failed";
      readonly reason: FetchFailure;
      readonly message: string;
      readonly retryAt: number;
    };

/** Refusals that cost one request to look at again: somebody may have put the file there meanwhile. */
const cheapToAskAgain: ReadonlySet<ImageRefusal> = new Set(["NotFound", "AddressRefused", "RedirectRefused"]);

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 5 * 60_000;

/**
 * Milliseconds until the next attempt: doubled with each failure in a row, and
 * spread by `random` (from 0 to 1), so that the nodes of a cluster do not ask
 * a recovering server all at once.
 */
export const retryDelay = (failuresInARow: number, random: number): number =>
  Math.round(
    Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failuresInARow, 20)) * (0.5 + random / 2),
  );

/** The verdict that follows from a failure, with the time of the next attempt. */
export const verdictOf = (failure: ImageRefused | FetchFailed, retryAt: number): Verdict => {
  const { message } = failure;
  if (failure instanceof ImageRefused)
    return {
      kind: "refused",
      reason: failure.reason,
      message,
      retryAt: cheapToAskAgain.has(failure.reason) ? retryAt : undefined,
    };
  return { kind: "failed", reason: failure.reason, message, retryAt };
};

/** As the schema of Hypervisor allows. */
const MAX_MESSAGE_CHARACTERS = 1024;

/** The image as the node reports it. An attempt that goes on in spite of a refusal does not hide the refusal. */
export const reportImage = (
  uid: string,
  verdict: Verdict | undefined,
  isFetching: boolean,
): CachedImageStatus => {
  if (verdict?.kind === "ready") {
    const { sizeBytes, virtualSizeBytes, checksum } = verdict.image;
    return { uid, state: "Ready", sizeBytes, virtualSizeBytes, checksum };
  }
  if (verdict === undefined || (isFetching && verdict.kind === "failed")) return { uid, state: "Fetching" };
  const { reason, message } = verdict;
  return { uid, state: "Failed", reason, message: message.slice(0, MAX_MESSAGE_CHARACTERS) };
};
