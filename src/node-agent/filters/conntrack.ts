import type { RunCommand } from "../host/command.ts";
import {
  encodeMessage,
  type ConntrackMessage,
  type EntryKey,
  type Tuple,
  type Zones,
} from "./conntrack-message.ts";

/** A connection that the kernel follows, as `conntrack -L` tells it. */
export interface ConntrackEntry extends EntryKey {
  /** How answers are addressed: where addresses are translated, it is not the original turned round. */
  readonly reply: Tuple;
  /** The connection's mark, 32 bits. */
  readonly mark: number;
}

/** The kernel's table of connections over IPv4. */
export interface ConntrackTable {
  /** All entries, of guests and of others. */
  list(signal: AbortSignal): Promise<readonly ConntrackEntry[]>;
  /**
   * Carries the messages out one by one, and resolves with how many met their
   * entry: the others' have ended meanwhile. Rejects when the kernel refuses one.
   */
  change(messages: readonly ConntrackMessage[], signal: AbortSignal): Promise<number>;
}

const TIMEOUT_MS = 30_000;
/** The kernel's own limit is 262,144 entries on most hosts, each about 200 bytes of text. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

/** ENOENT of errno(3). */
const NO_SUCH_ENTRY = 2;

type Fields = ReadonlyMap<string, string>;

const numberIn = (fields: Fields, name: string): number | undefined => {
  const text = fields.get(name);
  return text === undefined ? undefined : Number(text);
};

const tupleOf = (fields: Fields): Tuple | undefined => {
  const source = fields.get("src");
  const destination = fields.get("dst");
  if (source === undefined || destination === undefined) return undefined;
  const sourcePort = numberIn(fields, "sport") ?? numberIn(fields, "srckey");
  const destinationPort = numberIn(fields, "dport") ?? numberIn(fields, "dstkey");
  const [type, code, id] = ["type", "code", "id"].map((name) => numberIn(fields, name));
  return {
    source,
    destination,
    ...(sourcePort === undefined || destinationPort === undefined
      ? {}
      : { ports: { source: sourcePort, destination: destinationPort } }),
    ...(type === undefined || code === undefined || id === undefined ? {} : { icmp: { type, code, id } }),
  };
};

const zonesOf = (fields: Fields): Zones => {
  const [both, original, reply] = ["zone", "zone-orig", "zone-reply"].map((name) => numberIn(fields, name));
  return {
    ...(both === undefined ? {} : { both }),
    ...(original === undefined ? {} : { original }),
    ...(reply === undefined ? {} : { reply }),
  };
};

const fieldsOf = (text: string): Fields =>
  new Map([...text.matchAll(/(\S+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));

/** Name and number of the protocol, seconds left, and then one `src=` for each direction. */
const LINE = /^\S+\s+(\d+) .*?(src=.*?)(src=.*)$/;

/** One line of `conntrack -L`; undefined for what is not an entry. */
const parseEntry = (line: string): ConntrackEntry | undefined => {
  const [, protocol, there, back] = LINE.exec(line) ?? [];
  if (protocol === undefined || there === undefined || back === undefined) return undefined;
  const originalFields = fieldsOf(there);
  const replyFields = fieldsOf(back);
  const original = tupleOf(originalFields);
  const reply = tupleOf(replyFields);
  if (original === undefined || reply === undefined) return undefined;
  const zones = zonesOf(new Map([...originalFields, ...replyFields]));
  return { protocol: Number(protocol), original, reply, zones, mark: numberIn(replyFields, "mark") ?? 0 };
};

/** Reads what `conntrack -L` prints; see conntrack(8). */
export const parseEntries = (text: string): readonly ConntrackEntry[] =>
  text.split("\n").flatMap((line) => parseEntry(line) ?? []);

/**
 * Opens a netlink socket to netfilter, which neither Node.js nor any program
 * made for the purpose does for us; perl is on every Debian. Reads messages in
 * hexadecimal, a line each, and prints what the kernel answers: 0 or an errno.
 *
 * socket: AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER. send: to the kernel, port 0.
 * recv: a header of 16 bytes, then the negative errno. See netlink(7).
 */
const SEND_EACH = [
  "socket(my $kernel, 16, 3, 12) or die qq(netlink socket: $!\\n);",
  "while (<STDIN>) {",
  "  chomp;",
  "  defined send($kernel, pack('H*', $_), 0, pack('S S L L', 16, 0, 0, 0)) or die qq(send: $!\\n);",
  "  defined recv($kernel, my $answer, 8192, 0) or die qq(receive: $!\\n);",
  "  print -unpack('x16 l', $answer), qq(\\n);",
  "}",
].join("\n");

export const createConntrackTable = (run: RunCommand): ConntrackTable => ({
  list: async (signal) => {
    const { stdout } = await run("conntrack", ["-L", "-f", "ipv4"], {
      signal,
      timeoutMs: TIMEOUT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    return parseEntries(stdout);
  },
  change: async (messages, signal) => {
    if (messages.length === 0) return 0;
    const stdin = messages.map((message) => `${encodeMessage(message).toString("hex")}\n`).join("");
    const { stdout } = await run("perl", ["-e", SEND_EACH], { stdin, signal, timeoutMs: TIMEOUT_MS });
    const answers = stdout.trim().split("\n").map(Number);
    const refused = answers.findIndex((errno) => errno !== 0 && errno !== NO_SUCH_ENTRY);
    if (refused !== -1 || answers.length !== messages.length) {
      const what = JSON.stringify(messages[refused === -1 ? answers.length : refused]);
      throw new Error(`the kernel's connection tracking refused ${what}: errno ${answers[refused]}`);
    }
    return answers.filter((errno) => errno === 0).length;
  },
});
