import { parseArgs } from "node:util";
import { globalFlags, type Argument, type Command, type Flag, type Invocation } from "./command.ts";
import { UsageError } from "./errors.ts";
import { didYouMean } from "./suggest.ts";

/** What the command line asks for. */
export type Parsed =
  | { readonly kind: "help"; readonly command: Command | undefined }
  | { readonly kind: "version" }
  | { readonly kind: "run"; readonly command: Command; readonly invocation: Invocation };

/** Reads the arguments after the program's name. Throws UsageError. */
export const parseCommandLine = (commands: readonly Command[], args: readonly string[]): Parsed => {
  const found = findCommand(commands, args);
  if (found === undefined) return withoutCommand(commands, args);
  const { command, others } = found;
  const flags = [...command.flags, ...globalFlags];
  const { own, rest } = splitHandedOn(command, flags, others);
  const { values, words } = readWords(command.name, flags, own);
  if (values.get("help") !== undefined) return { kind: "help", command };
  return { kind: "run", command, invocation: invocationOf(command, flags, values, words, rest) };
};

const withoutCommand = (commands: readonly Command[], args: readonly string[]): Parsed => {
  const [first, ...others] = args;
  if (first === "--version" || first === "version") return { kind: "version" };
  if (first === "help") return { kind: "help", command: findCommand(commands, others)?.command };
  const flags: readonly Flag[] = globalFlags;
  const { values, words } = readWords("kubectl vireo", flags, args);
  if (values.get("help") !== undefined) return { kind: "help", command: undefined };
  const [word] = words;
  if (word === undefined) throw new UsageError("no command given");
  const names = commands.map(({ name }) => name);
  const group = names.filter((name) => name.startsWith(`${word} `));
  if (group.length > 0) throw new UsageError(`say what to ${word}: ${group.join(", ")}`);
  throw new UsageError(`there is no command ${JSON.stringify(word)}${didYouMean(word, names)}`);
};

export interface FoundCommand {
  readonly command: Command;
  /** The arguments but those that name the command. */
  readonly others: readonly string[];
}

/** The command is the first word or the first two that are no flags. */
export const findCommand = (
  commands: readonly Command[],
  args: readonly string[],
): FoundCommand | undefined => {
  const positions = tokensOf(globalFlags, args).flatMap((token) =>
    token.kind === "positional" ? [token.index] : [],
  );
  for (const count of [2, 1]) {
    const taken = positions.slice(0, count);
    const name = taken.map((position) => args[position]).join(" ");
    const command =
      taken.length === count ? commands.find((candidate) => candidate.name === name) : undefined;
    if (command !== undefined) return { command, others: args.filter((_, index) => !taken.includes(index)) };
  }
  return undefined;
};

/** Nothing is refused here: what is wrong is said in our own words. */
const tokensOf = (flags: readonly Flag[], args: readonly string[]) =>
  parseArgs({
    args: [...args],
    options: Object.fromEntries(
      flags.map(({ name, kind, short }) => [
        name,
        {
          type: kind === "switch" ? ("boolean" as const) : ("string" as const),
          ...(short !== undefined && { short }),
        },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens;

const splitHandedOn = (
  { handsOn }: Command,
  flags: readonly Flag[],
  args: readonly string[],
): { readonly own: readonly string[]; readonly rest: readonly string[] } => {
  if (handsOn === undefined) return { own: args, rest: [] };
  const first = tokensOf(flags, args).find(({ kind }) => kind === "positional");
  if (first === undefined) return { own: args, rest: [] };
  const rest = args.slice(first.index + 1);
  return { own: args.slice(0, first.index + 1), rest: rest[0] === "--" ? rest.slice(1) : rest };
};

type Values = ReadonlyMap<string, readonly string[]>;

/** Throws UsageError about the first flag that is wrong. */
const readWords = (
  commandName: string,
  flags: readonly Flag[],
  args: readonly string[],
): { readonly values: Values; readonly words: readonly string[] } => {
  const values = new Map<string, readonly string[]>();
  const words: string[] = [];
  for (const token of tokensOf(flags, args)) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    const { flag, value } = readFlag(commandName, flags, token);
    values.set(flag.name, [...(values.get(flag.name) ?? []), value]);
  }
  return { values, words };
};

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
}

const readFlag = (
  commandName: string,
  flags: readonly Flag[],
  { name, rawName, value }: OptionToken,
): { readonly flag: Flag; readonly value: string } => {
  const flag = flags.find((candidate) => candidate.name === name);
  if (flag !== undefined) return { flag, value: checkValue(flag, rawName, value) };
  const negated = flags.find((candidate) => `no-${candidate.name}` === name);
  if (negated?.kind === "switch" && negated.on === true) {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value`);
    return { flag: negated, value: "false" };
  }
  const names = flags.map((candidate) => `--${candidate.name}`);
  throw new UsageError(`${commandName} has no flag ${rawName}${didYouMean(rawName, names)}`);
};

const checkValue = (flag: Flag, rawName: string, value: string | undefined): string => {
  if (flag.kind === "switch") {
    if (value === undefined || value === "true" || value === "false") return value ?? "true";
    throw new UsageError(`${rawName}: ${JSON.stringify(value)} is not true or false`);
  }
  if (value === undefined) throw new UsageError(`${rawName} needs a value: ${rawName} ${flag.placeholder}`);
  checkChoice(rawName, flag.choices, value);
  return value;
};

const checkChoice = (what: string, choices: readonly string[] | undefined, value: string): void => {
  if (choices === undefined || choices.includes(value)) return;
  throw new UsageError(
    `${what}: ${JSON.stringify(value)} is not one of ${choices.join(", ")}${didYouMean(value, choices)}`,
  );
};

const invocationOf = (
  command: Command,
  flags: readonly Flag[],
  values: Values,
  words: readonly string[],
  rest: readonly string[],
): Invocation => {
  const places = assignWords(command, words);
  return {
    text: (name) => values.get(name)?.at(-1),
    list: (name) => values.get(name) ?? [],
    isOn: (name) => {
      const said = values.get(name)?.at(-1);
      const flag = flags.find((candidate) => candidate.name === name);
      return said === undefined ? flag?.kind === "switch" && flag.on === true : said === "true";
    },
    words: (name) => places.get(name) ?? [],
    word: (name) => places.get(name)?.[0] ?? "",
    rest,
  };
};

/** Throws UsageError when there are too few or too many words. */
const assignWords = (command: Command, words: readonly string[]): ReadonlyMap<string, readonly string[]> => {
  const places = new Map<string, readonly string[]>();
  let left = words;
  for (const [index, argument] of command.arguments.entries()) {
    const after = command.arguments
      .slice(index + 1)
      .filter(({ count = "one" }) => count !== "optional").length;
    const most = argument.count === "many" ? Math.max(left.length - after, 0) : 1;
    const taken = left.slice(0, most);
    left = left.slice(taken.length);
    if (taken.length === 0 && argument.count !== "optional") throw missing(command, argument);
    for (const word of taken) checkChoice(argument.name, argument.choices, word);
    places.set(argument.name, taken);
  }
  const [surplus] = left;
  if (surplus === undefined) return places;
  throw new UsageError(`${command.name} takes no ${JSON.stringify(surplus)} after what it needs`);
};

const missing = (command: Command, argument: Argument): UsageError =>
  new UsageError(`${command.name} needs ${argument.name}: ${argument.description}`);
