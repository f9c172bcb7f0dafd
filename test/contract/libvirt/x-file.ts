import type { Layout } from "../../../src/libvirt/xdr.ts";

/**
 * Reads rpcgen's .x language as far as libvirt uses it.
 * https://www.rfc-editor.org/rfc/rfc4506#section-6.3
 */

/** Resolves the name of a constant that is not in the .x file itself. */
export type ForeignConstant = (name: string) => number | undefined;

interface Declaration {
  readonly name: string;
  readonly layout: () => Layout;
}

const PRIMITIVES: Readonly<Record<string, Layout>> = {
  int: { kind: "int" },
  "unsigned int": { kind: "uint" },
  unsigned: { kind: "uint" },
  hyper: { kind: "hyper" },
  "unsigned hyper": { kind: "uhyper" },
  char: { kind: "char" },
  "unsigned char": { kind: "uchar" },
  "unsigned short": { kind: "ushort" },
  double: { kind: "double" },
};

const tokensOf = (text: string): string[] =>
  text
    .replaceAll(/\/\*[^]*?\*\//g, " ")
    .replaceAll(/^%.*$/gm, " ")
    .match(/\w+|[^\s\w]/g) ?? [];

const camelCase = (name: string): string =>
  name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The types and constants of one or more .x files. */
export class XFile {
  readonly #constants = new Map<string, number>();
  readonly #types = new Map<string, () => Layout>();
  readonly #foreign: ForeignConstant;
  #tokens: string[] = [];

  constructor(texts: readonly string[], foreign: ForeignConstant) {
    this.#foreign = foreign;
    for (const text of texts) {
      this.#tokens = tokensOf(text);
      while (this.#tokens.length > 0) this.#definition();
    }
  }

  constant(name: string): number | undefined {
    return this.#constants.get(name);
  }

  /** The layout of a type; void when there is no type of that name, as for a procedure without arguments. */
  layoutOf(name: string): Layout {
    return this.#types.get(name)?.() ?? { kind: "void" };
  }

  #next(): string {
    const token = this.#tokens.shift();
    if (token === undefined) throw new Error("the .x file ends in the middle of a definition");
    return token;
  }

  #expect(...expected: readonly string[]): void {
    for (const token of expected) {
      const found = this.#next();
      if (found !== token) throw new Error(`${found} instead of ${token} in the .x file`);
    }
  }

  #accept(token: string): boolean {
    if (this.#tokens[0] !== token) return false;
    this.#tokens.shift();
    return true;
  }

  #definition(): void {
    const keyword = this.#next();
    if (keyword === "const") this.#const();
    else if (keyword === "enum") this.#enum();
    else if (keyword === "typedef") this.#typedef();
    else if (keyword === "struct") this.#struct();
    else if (keyword === "union") this.#union();
    else throw new Error(`${keyword} begins no definition of the .x language`);
  }

  #const(): void {
    const name = this.#next();
    this.#expect("=");
    const value = this.#next();
    this.#constants.set(name, this.#number(value));
    this.#expect(";");
  }

  #number(token: string): number {
    const value = /^\d/.test(token) ? Number(token) : (this.#constants.get(token) ?? this.#foreign(token));
    if (value === undefined) throw new Error(`the .x file uses ${token}, which is defined nowhere`);
    return value;
  }

  #enum(): void {
    const name = this.#next();
    this.#expect("{");
    while (!this.#accept("}")) {
      const member = this.#next();
      this.#expect("=");
      this.#constants.set(member, this.#number(this.#next()));
      this.#accept(",");
    }
    this.#expect(";");
    this.#types.set(name, () => ({ kind: "int" }));
  }

  #typedef(): void {
    const { name, layout } = this.#declaration();
    this.#types.set(name, layout);
  }

  #struct(): void {
    const name = this.#next();
    this.#expect("{");
    const fields: Declaration[] = [];
    while (!this.#accept("}")) fields.push(this.#declaration());
    this.#expect(";");
    this.#types.set(name, () => ({
      kind: "struct",
      fields: fields.map((field) => [camelCase(field.name), field.layout()] as const),
    }));
  }

  #union(): void {
    const name = this.#next();
    this.#expect("switch", "(");
    this.#declarator(this.#typeName());
    this.#expect(")", "{");
    const arms: (readonly [number, Declaration])[] = [];
    while (!this.#accept("}")) {
      this.#expect("case");
      const tag = this.#number(this.#next());
      this.#expect(":");
      arms.push([tag, this.#declaration()]);
    }
    this.#expect(";");
    this.#types.set(name, () => ({
      kind: "union",
      arms: arms.map(([tag, arm]) => [tag, arm.layout()] as const),
    }));
  }

  #declaration(): Declaration {
    const declaration = this.#declarator(this.#typeName());
    this.#expect(";");
    return declaration;
  }

  #typeName(): string {
    const first = this.#next();
    if (first !== "unsigned") return first;
    const follows = this.#tokens[0] ?? "";
    return ["int", "hyper", "char", "short"].includes(follows) ? `unsigned ${this.#next()}` : first;
  }

  #named(type: string): Layout {
    const layout = PRIMITIVES[type] ?? this.#types.get(type)?.();
    if (layout === undefined) throw new Error(`the .x file uses type ${type}, which is defined nowhere`);
    return layout;
  }

  #declarator(type: string): Declaration {
    if (this.#accept("*")) {
      return { name: this.#next(), layout: () => ({ kind: "optional", of: this.#named(type) }) };
    }
    const name = this.#next();
    if (this.#accept("[")) {
      const length = this.#number(this.#next());
      this.#expect("]");
      return { name, layout: () => this.#fixed(type, length) };
    }
    if (this.#accept("<")) {
      const max = this.#accept(">") ? Number.POSITIVE_INFINITY : this.#number(this.#next());
      if (max !== Number.POSITIVE_INFINITY) this.#expect(">");
      return { name, layout: () => this.#variable(type, max) };
    }
    return { name, layout: () => this.#named(type) };
  }

  #fixed(type: string, length: number): Layout {
    return type === "opaque" ? { kind: "opaque", length } : { kind: "array", of: this.#named(type), length };
  }

  #variable(type: string, max: number): Layout {
    if (type === "string") return { kind: "string", max };
    return type === "opaque" ? { kind: "bytes", max } : { kind: "list", of: this.#named(type), max };
  }
}
