import { createHash } from "node:crypto";
import type { ReadableFile } from "../host/files.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";

/**
 * Compares a file with its declared digest ("sha256:…" or "sha512:…"; none
 * means that any content will do) and returns its SHA-256 in the same notation.
 */
export const verifyDigest = async (
  file: ReadableFile,
  declared: string | undefined,
  { signal }: { readonly signal: AbortSignal },
): Promise<string> => {
  const [algorithm = "sha256"] = (declared ?? "sha256:").split(":");
  if (algorithm !== "sha256" && algorithm !== "sha512")
    throw new FetchFailed("FetchFailed", `this agent does not know the digest ${algorithm}`);
  const sha256 = createHash("sha256");
  const other = algorithm === "sha512" ? createHash("sha512") : undefined;
  for await (const chunk of file.chunks()) {
    signal.throwIfAborted();
    sha256.update(chunk);
    other?.update(chunk);
  }
  const digest = `sha256:${sha256.digest("hex")}`;
  const found = other === undefined ? digest : `sha512:${other.digest("hex")}`;
  if (declared !== undefined && declared !== found)
    throw new ImageRefused(
      "ChecksumMismatch",
      `the source serves ${found}, but the image is declared as ${declared}; correct one of them`,
    );
  return digest;
};
