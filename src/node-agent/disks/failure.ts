import type { ImageRefusal } from "../../api/image.ts";
import { errorCode } from "../host/files.ts";
import type { FetchFailure } from "./types.ts";

/** The image itself cannot be used. The message says what to do about it. */
export class ImageRefused extends Error {
  override readonly name = "ImageRefused";
  readonly reason: ImageRefusal;

  constructor(reason: ImageRefusal, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** It did not work this time, and may work later. */
export class FetchFailed extends Error {
  override readonly name = "FetchFailed";
  readonly reason: FetchFailure;

  constructor(reason: FetchFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

const fullCodes: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT"]);

const messageOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error);

/** Any error of a fetch as one of the two kinds that the room reports. */
export const failureOf = (error: unknown): ImageRefused | FetchFailed => {
  if (error instanceof ImageRefused || error instanceof FetchFailed) return error;
  if (fullCodes.has(errorCode(error)))
    return new FetchFailed("NoSpace", "the node's disk is full; free space, or delete images and machines", {
      cause: error,
    });
  return new FetchFailed("FetchFailed", messageOf(error), { cause: error });
};
