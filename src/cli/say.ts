import { styleText } from "node:util";
import type { Output } from "./host/index.ts";
import { printable } from "./print.ts";

/** Messages for people. Results go to standard output, these do not. */
export interface Say {
  /** What is going on; the same text twice in a row is said once. */
  progress(text: string): void;
  /** What the user should know although it works. */
  warning(text: string): void;
  /** Why it does not work. */
  error(text: string): void;
}

/** Colours only where somebody sees them, and NO_COLOR is not set. */
export const createSay = (stderr: Output): Say => {
  let last = "";
  const line = (text: string, lead = ""): void => {
    last = text;
    // Much of it was written by others.
    stderr.write(`${lead}${text.split("\n").map(printable).join("\n")}\n`);
  };
  const label = (style: "yellow" | "red", text: string): string =>
    stderr.isTTY === true ? styleText(style, text, { stream: stderr }) : text;
  return {
    progress: (text) => {
      if (text !== last) line(text);
    },
    warning: (text) => line(text, `${label("yellow", "warning:")} `),
    error: (text) => line(text, `${label("red", "error:")} `),
  };
};
