import { styleText } from "node:util";
import type { Output } from "./host/index.ts";

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
  const line = (text: string): void => {
    last = text;
    stderr.write(`${text}\n`);
  };
  const label = (style: "yellow" | "red", text: string): string =>
    stderr.isTTY === true ? styleText(style, text, { stream: stderr }) : text;
  return {
    progress: (text) => {
      if (text !== last) line(text);
    },
    warning: (text) => line(`${label("yellow", "warning:")} ${text}`),
    error: (text) => line(`${label("red", "error:")} ${text}`),
  };
};
