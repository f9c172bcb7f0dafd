/** Reads the enums of libvirt's C headers, which are written to be read by programs: libvirt does so itself. */

/** An enum's members by name. */
export type Enum = ReadonlyMap<string, number>;

const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[^]*?\*\//g, " ").replaceAll(/^\s*#.*$/gm, " ");

/** The value of `1 << 3`, `(1U << 31)`, `4096 + 1`, `0x10`, or another member's name; undefined for what is not understood. */
const evaluate = (expression: string, known: ReadonlyMap<string, number>): number | undefined => {
  const bare = expression.replaceAll(/[()\s]/g, "").replaceAll(/(?<=\d)U/g, "");
  const shift = /^(\d+)<<(\d+)$/.exec(bare);
  if (shift !== null) return Number(shift[1]) * 2 ** Number(shift[2]);
  const sum = /^(\d+)\+(\d+)$/.exec(bare);
  if (sum !== null) return Number(sum[1]) + Number(sum[2]);
  return /^-?(0x)?[\da-f]+$/i.test(bare) ? Number(bare) : known.get(bare);
};

/** All enums with a typedef's name, and all their members and #defined numbers under "". */
export const enumsOf = (headers: readonly string[]): ReadonlyMap<string, Enum> => {
  const everything = new Map<string, number>();
  const enums = new Map<string, Enum>([["", everything]]);
  for (const header of headers) {
    for (const [, name = "", expression = ""] of header.matchAll(/^\s*#\s*define\s+(\w+)\s+(\(.*\))\s*$/gm)) {
      const value = evaluate(expression, everything);
      if (value !== undefined) everything.set(name, value);
    }
    for (const [, body = "", name = ""] of withoutComments(header).matchAll(
      /typedef\s+enum\s*\{([^}]*)\}\s*(\w+)\s*;/g,
    )) {
      enums.set(name, membersOf(body, everything));
    }
  }
  return enums;
};

const membersOf = (body: string, everything: Map<string, number>): Enum => {
  const members = new Map<string, number>();
  let previous = -1;
  for (const line of body.split(",")) {
    const [name = "", expression] = line.split("=").map((part) => part.trim());
    const value = expression === undefined ? previous + 1 : evaluate(expression, everything);
    if (name === "" || value === undefined) continue;
    previous = value;
    members.set(name, value);
    everything.set(name, value);
  }
  return members;
};

/** The texts that the headers #define under names that begin with `prefix`. */
export const textsOf = (headers: readonly string[], prefix: string): ReadonlySet<string> => {
  const definition = new RegExp(String.raw`^\s*#\s*define\s+${prefix}\w+\s+"([^"]*)"`, "gm");
  return new Set(
    headers.flatMap((header) => [...header.matchAll(definition)].flatMap(([, text]) => text ?? [])),
  );
};
