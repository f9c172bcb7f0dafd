import { globalFlags, type Argument, type Command, type Flag } from "./command.ts";

/** How the program is called in all that people read. */
export const PROGRAM = "kubectl vireo";

const WIDTH = 100;

/** The first page: all commands. */
export const overview = (commands: readonly Command[]): string =>
  [
    `${PROGRAM} works with virtual machines: what a manifest does not do, and what is quicker without one.`,
    "",
    "Usage:",
    `  ${PROGRAM} COMMAND [flags]`,
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    "Flags of all commands:",
    ...flagLines(globalFlags),
    "",
    `"${PROGRAM} COMMAND --help" tells about one of them. Exit codes: 0 done, 1 it did not work, 2 it was not understood.`,
    "",
  ].join("\n");

/** The usage line of a command, without the word "Usage". */
export const usageLine = ({ name, arguments: places, handsOn }: Command): string =>
  [
    PROGRAM,
    name,
    ...places.map(placeText),
    ...(handsOn === undefined ? [] : [`[${handsOn}...]`]),
    "[flags]",
  ].join(" ");

const placeText = ({ name, count = "one" }: Argument): string => {
  if (count === "optional") return `[${name}]`;
  return count === "many" ? `${name}...` : name;
};

/** All about one command. */
export const commandHelp = (command: Command): string => {
  const { summary, description, arguments: places, flags, examples } = command;
  const sections: (readonly string[])[] = [
    [`${summary}.`],
    ...description.map((paragraph) => wrap(paragraph, WIDTH)),
    ["Usage:", `  ${usageLine(command)}`],
  ];
  if (places.length > 0)
    sections.push(["Arguments:", ...columns(places.map(({ name, description: text }) => [name, text]))]);
  if (flags.length > 0) sections.push(["Flags:", ...flagLines(flags)]);
  sections.push(["Flags of all commands:", ...flagLines(globalFlags)]);
  if (examples.length > 0)
    sections.push([
      "Examples:",
      ...examples.flatMap(({ comment, command: line }) => [`  # ${comment}`, `  ${line}`]),
    ]);
  return `${sections.map((lines) => lines.join("\n")).join("\n\n")}\n`;
};

const flagLines = (flags: readonly Flag[]): readonly string[] =>
  columns(flags.map((flag) => [flagText(flag), flagDescription(flag)]));

/** A flag as it is written: "-n, --namespace NAME". */
export const flagText = (flag: Flag): string => {
  const short = flag.short === undefined ? "    " : `-${flag.short}, `;
  const long = flag.kind === "switch" && flag.on === true ? `--[no-]${flag.name}` : `--${flag.name}`;
  return `${short}${long}${flag.kind === "switch" ? "" : ` ${flag.placeholder}`}`;
};

const flagDescription = (flag: Flag): string =>
  flag.kind === "list" ? `${flag.description}; may be given several times` : flag.description;

/** Pairs below each other, the second wrapped in its column. */
const columns = (rows: readonly (readonly [string, string])[]): readonly string[] => {
  const width = Math.min(Math.max(...rows.map(([first]) => first.length)), 38);
  return rows.flatMap(([first, second]) => {
    const indent = " ".repeat(width + 4);
    const [head = "", ...tail] = wrap(second, WIDTH - width - 4);
    const lead =
      first.length > width ? [`  ${first}`, `${indent}${head}`] : [`  ${first.padEnd(width)}  ${head}`];
    return [...lead, ...tail.map((line) => indent + line)];
  });
};

/** Lines of at most `width` characters, broken at blanks; a longer word stays whole. */
export const wrap = (text: string, width: number): readonly string[] => {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
};
