import { globalFlags, type Argument, type Command, type Completer, type Flag } from "../command.ts";
import { findCommand } from "../parse.ts";

/** What may stand where the cursor is. */
export interface Next {
  /** Candidates that need no cluster. */
  readonly candidates: readonly { readonly value: string; readonly description?: string | undefined }[];
  /** What else to look up. */
  readonly completes: Completer | undefined;
  /** Goes before each name that is looked up: "--context=" when that was typed in one word. */
  readonly prefix: string;
  /** The word so far. */
  readonly typed: string;
  /** --namespace and the like, as far as the line has them. */
  readonly globals: ReadonlyMap<string, string>;
}

/** Works out what comes next from the words so far; the last one is being typed, and may be empty. */
export const whatIsNext = (commands: readonly Command[], words: readonly string[]): Next => {
  const typed = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const found = findCommand(commands, before);
  const flags = [...(found?.command.flags ?? []), ...globalFlags];
  const base = { typed, prefix: "", globals: globalsOf(before), candidates: [], completes: undefined };
  const awaited = awaitingValue(flags, before);
  if (awaited !== undefined) return { ...base, ...valuesOf(awaited) };
  const inOneWord = /^--([a-z-]+)=/.exec(typed);
  if (inOneWord !== null) {
    const flag = flags.find(({ name }) => name === inOneWord[1]);
    return flag === undefined ? base : { ...base, ...valuesOf(flag, inOneWord[0]) };
  }
  if (typed.startsWith("-")) return { ...base, candidates: flagCandidates(flags) };
  if (found === undefined) return { ...base, candidates: commandWords(commands, before) };
  return { ...base, ...argumentsOf(found.command, flags, found.others) };
};

type Values = Pick<Next, "candidates" | "completes" | "prefix">;

const valuesOf = (place: Flag | Argument, prefix = ""): Values => ({
  candidates: ("choices" in place ? (place.choices ?? []) : []).map((choice) => ({ value: prefix + choice })),
  completes: "completes" in place ? place.completes : undefined,
  prefix,
});

/** The flag whose value comes next: the last word, when it has none in itself. */
const awaitingValue = (flags: readonly Flag[], before: readonly string[]): Flag | undefined => {
  const last = before.at(-1) ?? "";
  const flag = flags.find(
    ({ name, short }) => last === `--${name}` || (short !== undefined && last === `-${short}`),
  );
  return flag === undefined || flag.kind === "switch" ? undefined : flag;
};

const flagCandidates = (flags: readonly Flag[]): Next["candidates"] =>
  flags.flatMap((flag) => {
    const plain = { value: `--${flag.name}`, description: flag.description };
    const isNegatable = flag.kind === "switch" && flag.on === true;
    return isNegatable
      ? [plain, { value: `--no-${flag.name}`, description: `not: ${flag.description}` }]
      : [plain];
  });

/** First words of commands, or second words of those whose first was said. */
const commandWords = (commands: readonly Command[], before: readonly string[]): Next["candidates"] => {
  const said = before.filter((word) => !word.startsWith("-")).join(" ");
  const lead = said === "" ? "" : `${said} `;
  const words = new Map<string, string>();
  for (const { name, summary } of commands) {
    if (!name.startsWith(lead)) continue;
    const [word = "", ...further] = name.slice(lead.length).split(" ");
    words.set(word, further.length === 0 ? summary : `${word} ${further.join(" ")}: ${summary}`);
  }
  return [...words].map(([value, description]) => ({ value, description }));
};

const argumentsOf = (command: Command, flags: readonly Flag[], others: readonly string[]): Values => {
  const nothing = { candidates: [], completes: undefined, prefix: "" };
  const count = positionalsOf(flags, others).length;
  if (command.handsOn !== undefined && count > 0) return { ...nothing, completes: "file" };
  const last = command.arguments.at(-1);
  const place = command.arguments[count] ?? (last?.count === "many" ? last : undefined);
  return place === undefined ? nothing : valuesOf(place);
};

const positionalsOf = (flags: readonly Flag[], words: readonly string[]): readonly string[] =>
  words.filter(
    (word, index) => !word.startsWith("-") && awaitingValue(flags, words.slice(0, index)) === undefined,
  );

const globalsOf = (before: readonly string[]): ReadonlyMap<string, string> => {
  const globals = new Map<string, string>();
  for (const [index, word] of before.entries()) {
    for (const { name, short } of globalFlags) {
      const isNamed = word === `--${name}` || (short !== undefined && word === `-${short}`);
      const following = before[index + 1];
      if (isNamed && following !== undefined) globals.set(name, following);
      if (word.startsWith(`--${name}=`)) globals.set(name, word.slice(name.length + 3));
    }
  }
  return globals;
};
