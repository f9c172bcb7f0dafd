import { z } from "zod";
import type { ImageFormat } from "../../api/image.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import { confined, mishap } from "./confined.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";
import type { HeaderFacts } from "./image-format/inspect-header.ts";

/** OpenStack's bounds for the same purpose, in memory and time. */
const bounds = { addressSpaceBytes: 2 ** 30, cpuSeconds: 30 } as const;
/** On the wall: a busy node is slow, and that is not the image's fault. */
const TIMEOUT_MS = 300_000;

/** The parts of `qemu-img info --output=json` that matter; the others may change with versions. */
const information = z.object({
  format: z.string(),
  "virtual-size": z.int().min(0),
  "backing-filename": z.unknown().optional(),
  "full-backing-filename": z.unknown().optional(),
  encrypted: z.boolean().optional(),
  "format-specific": z
    .object({ data: z.object({ "data-file": z.unknown().optional(), corrupt: z.boolean().optional() }) })
    .optional(),
});

interface Question {
  readonly path: string;
  readonly format: ImageFormat;
  readonly header: HeaderFacts;
  readonly signal: AbortSignal;
}

/** `qemu-img check` writes this, once for each structure, when the file ends too early. */
const ENDS_TOO_EARLY = /exceeding the end of the file|is outside image/;

/** The image is not to blame for the directories above it. */
const unreachable = (error: CommandError): FetchFailed | undefined =>
  error.stderr.includes("Permission denied")
    ? new FetchFailed(
        "FetchFailed",
        `the image cannot be read by an unprivileged user; make the directories above the agent's state directory passable: ${error.message}`,
        { cause: error },
      )
    : undefined;

const verdict = (error: CommandError): ImageRefused => {
  const cause = { cause: error };
  if (error.failure === "signal")
    return new ImageRefused(
      "TooLarge",
      "examining the image takes more memory or time than sane images need",
      cause,
    );
  if (ENDS_TOO_EARLY.test(error.stderr))
    return new ImageRefused(
      "Truncated",
      "the file ends before the data that its tables speak of; upload the whole file",
      cause,
    );
  const complaint = firstLine(error.stderr);
  return new ImageRefused(
    "Corrupt",
    `qemu-img finds errors in the image; make it again (${complaint})`,
    cause,
  );
};

const firstLine = (text: string): string => (text.split("\n", 1)[0] ?? "").slice(0, 200);

/** Lost space is not lost data. https://qemu.readthedocs.io/en/latest/tools/qemu-img.html (check) */
const LEAKED_CLUSTERS_EXIT_CODE = 3;

const ask = async (
  run: RunCommand,
  words: readonly string[],
  { path, format, signal }: Question,
): Promise<string> => {
  const [file, args] = confined(["qemu-img", ...words, "-f", format, "--output=json", path], bounds);
  return (await run(file, args, { signal, timeoutMs: TIMEOUT_MS })).stdout;
};

const check = async (run: RunCommand, question: Question): Promise<void> => {
  await ask(run, ["check"], question).catch((error: unknown) => {
    const leaksOnly = error instanceof CommandError && error.exitCode === LEAKED_CLUSTERS_EXIT_CODE;
    if (!leaksOnly) throw error;
  });
};

const agrees = (text: string, { format, header }: Question): boolean => {
  const parsed = information.safeParse(JSON.parse(text));
  if (!parsed.success) return false;
  const { data } = parsed;
  const details = data["format-specific"]?.data;
  return (
    data.format === format &&
    data["virtual-size"] === header.virtualSizeBytes &&
    data["backing-filename"] === undefined &&
    data["full-backing-filename"] === undefined &&
    data.encrypted !== true &&
    details?.["data-file"] === undefined &&
    details?.corrupt !== true
  );
};

/**
 * Has QEMU's own reader look at an image that our reader has accepted, in a
 * process that can do nothing. The two must agree: where they differ, one of
 * them is being deceived. Throws ImageRefused or FetchFailed.
 */
export const secondOpinion = async (run: RunCommand, question: Question): Promise<void> => {
  try {
    const text = await ask(run, ["info"], question);
    if (!agrees(text, question))
      throw new ImageRefused(
        "Corrupt",
        "the image means different things to different readers; make it again",
      );
    if (question.format === "qcow2") await check(run, question);
  } catch (error) {
    throw error instanceof CommandError ? (mishap(error) ?? unreachable(error) ?? verdict(error)) : error;
  }
};
