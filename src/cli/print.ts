import { stringify } from "yaml";
import type { Output } from "./host/index.ts";

export type OutputFormat = "table" | "json" | "yaml";

/** Rows below each other, as kubectl prints them: columns three blanks apart. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
  const all = [head, ...rows].map((row) => row.map(printable));
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
};

/** What others wrote must not steer the terminal, nor break a line. */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}+/gu, " ");

export const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** Without line folding, so that what is pasted stays what it was. */
export const yaml = (value: unknown): string =>
  stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });

/** Resolves when it is written; a reader that has left is no error. */
export const write = (output: Output, content: string | Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    output.write(content, (error) => {
      if (error === null || error === undefined || isBrokenPipe(error)) resolve();
      else reject(error);
    });
  });

export const isBrokenPipe = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED");

/** An object without what only the API server reads. */
export const withoutManagedFields = (object: Readonly<Record<string, unknown>>): Record<string, unknown> => {
  const { managedFields: _, ...metadata } = (object["metadata"] ?? {}) as Record<string, unknown>;
  return { ...object, metadata };
};

/** One value in the asked format; `rows` draws the table. */
export const render = (format: OutputFormat, value: unknown, draw: () => string): string => {
  if (format === "json") return json(value);
  return format === "yaml" ? yaml(value) : draw();
};
