import type { Session } from "./session.ts";

/** What a shell may offer in the place of a flag's value or an argument. */
export const completers = [
  "machine",
  "snapshot",
  "disk",
  "node",
  "flavor",
  "image",
  "key-pair",
  "network",
  "security-group",
  "volume",
  "context",
  "namespace",
  "file",
] as const;
export type Completer = (typeof completers)[number];

interface FlagBase {
  /** Without dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** One line; what the default is, if it is not obvious. */
  readonly description: string;
}

/** A flag without a value. */
export interface SwitchFlag extends FlagBase {
  readonly kind: "switch";
  /** Whether it is on by default, and --no-NAME turns it off. Default false. */
  readonly on?: boolean;
}

/** A flag with a value; the last one given counts. */
export interface TextFlag extends FlagBase {
  readonly kind: "text";
  /** What stands for the value in help. */
  readonly placeholder: string;
  readonly choices?: readonly string[];
  readonly completes?: Completer;
}

/** A flag with a value that may be given several times. */
export interface ListFlag extends FlagBase {
  readonly kind: "list";
  readonly placeholder: string;
  readonly choices?: readonly string[];
  readonly completes?: Completer;
}

export type Flag = SwitchFlag | TextFlag | ListFlag;

/** A word of the command line that is no flag. */
export interface Argument {
  /** In capitals, as help shows it. */
  readonly name: string;
  readonly description: string;
  /** Default "one". */
  readonly count?: "one" | "optional" | "many";
  readonly choices?: readonly string[];
  readonly completes?: Completer;
}

/** What was said on the command line, checked against the command. */
export interface Invocation {
  /** Value of a text flag. */
  readonly text: (flag: string) => string | undefined;
  /** Values of a list flag. */
  readonly list: (flag: string) => readonly string[];
  /** Whether a switch is on. */
  readonly isOn: (flag: string) => boolean;
  /** The words in the place of an argument. */
  readonly words: (argument: string) => readonly string[];
  /** The word in the place of an argument that is there exactly once. */
  readonly word: (argument: string) => string;
  /** What follows the first argument of a command that hands it on; empty for others. */
  readonly rest: readonly string[];
}

export interface Example {
  readonly command: string;
  readonly comment: string;
}

/** One command: the source of its parsing, its help, its completion and its page in the documentation. */
export interface Command {
  /** One or two words. */
  readonly name: string;
  /** Up to about 60 characters, for the list of commands. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly arguments: readonly Argument[];
  readonly flags: readonly Flag[];
  readonly examples: readonly Example[];
  /** Has no end of its own: Ctrl-C is how it ends well. */
  readonly runsUntilInterrupted?: true;
  /** Hands all that follows its first argument to another program, under this name in help. */
  readonly handsOn?: string;
  /** Resolves when it is done, with an exit code if that is another program's; throws what went wrong. */
  readonly run: (invocation: Invocation, session: Session) => Promise<number | undefined>;
}

/** Of every command. */
export const globalFlags: readonly Flag[] = [
  {
    name: "kubeconfig",
    kind: "text",
    placeholder: "FILE",
    description: "kubeconfig to use; default: KUBECONFIG, ~/.kube/config, or the pod's service account",
    completes: "file",
  },
  {
    name: "context",
    kind: "text",
    placeholder: "NAME",
    description: "context of the kubeconfig; default: its current one",
    completes: "context",
  },
  {
    name: "namespace",
    short: "n",
    kind: "text",
    placeholder: "NAME",
    description: "namespace of the machine; default: the context's",
    completes: "namespace",
  },
  { name: "help", short: "h", kind: "switch", description: "this text" },
];

/** Of commands that print objects. */
export const outputFlag: Flag = {
  name: "output",
  short: "o",
  kind: "text",
  placeholder: "FORMAT",
  choices: ["table", "json", "yaml"],
  description: "table (default), json or yaml",
};

/** Of commands that change objects. */
export const dryRunFlag: Flag = {
  name: "dry-run",
  kind: "switch",
  description: "have the API server check the change, and change nothing",
};

/** Of commands whose effect takes time. */
export const waitFlags: readonly Flag[] = [
  {
    name: "wait",
    kind: "switch",
    on: true,
    description: "wait until it has happened; progress goes to standard error",
  },
  {
    name: "timeout",
    kind: "text",
    placeholder: "DURATION",
    description: "give up waiting after this time, such as 90s, 5m or 1h; default 5m",
  },
];

export const machineArgument: Argument = {
  name: "VM",
  description: "name of the VirtualMachine",
  completes: "machine",
};

export const machinesArgument: Argument = {
  name: "VM",
  description: "names of VirtualMachines",
  count: "many",
  completes: "machine",
};
