import type { Picture } from "./picture.ts";

/** Size of a text screen in characters. */
export interface TextGrid {
  readonly rows: number;
  readonly columns: number;
}

/** Characters by what they look like. */
export type Font = ReadonlyMap<string, string>;

const UNKNOWN = "\uFFFD";

/** What is in each cell, row by row: "1" where it is not of the background's colour. */
const cellsOf = (picture: Picture, { rows, columns }: TextGrid): readonly (readonly string[])[] => {
  const [width, height] = [picture.width / columns, picture.height / rows];
  if (!Number.isInteger(width) || !Number.isInteger(height))
    throw new Error(`${picture.width}x${picture.height} pixels are no ${columns}x${rows} characters`);
  // The lower right corner is left empty.
  const background = picture.pixels.at(-1);
  const cellAt = (row: number, column: number): string => {
    const lines = Array.from({ length: height }, (_, line) => {
      const start = (row * height + line) * picture.width + column * width;
      return [...picture.pixels.subarray(start, start + width)]
        .map((colour) => (colour === background ? "0" : "1"))
        .join("");
    });
    return lines.join("\n");
  };
  return Array.from({ length: rows }, (_row, row) =>
    Array.from({ length: columns }, (_column, column) => cellAt(row, column)),
  );
};

/**
 * Learns what characters look like from a screen that shows these lines at its
 * top. Throws when it cannot be that screen: characters look alike.
 */
export const learnFont = (picture: Picture, grid: TextGrid, lines: readonly string[]): Font => {
  const cells = cellsOf(picture, grid);
  const blank = cells.at(-1)?.at(-1) ?? "";
  const font = new Map([[blank, " "]]);
  for (const [row, line] of lines.entries()) {
    for (const [column, character] of line.split("").entries()) {
      const glyph = cells[row]?.[column] ?? "";
      const twin = font.get(glyph);
      if (twin !== undefined) throw new Error(`${character} looks like ${JSON.stringify(twin)}`);
      font.set(glyph, character);
    }
  }
  return font;
};

/** The lines of a text screen without the blanks at their ends, the empty ones at its end left out. */
export const readText = (picture: Picture, grid: TextGrid, font: Font): readonly string[] =>
  cellsOf(picture, grid)
    .map((cells) => cells.map((glyph) => font.get(glyph) ?? UNKNOWN).join(""))
    .join("\n")
    .replaceAll(/ +$/gm, "")
    .trimEnd()
    .split("\n");
