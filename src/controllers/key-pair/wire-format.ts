/**
 * The encoding that SSH uses on the wire and in key files: length-prefixed strings.
 * https://datatracker.ietf.org/doc/html/rfc4251#section-5
 */

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** A string of bytes after its length. */
export const sshString = (value: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(value as Uint8Array);
  return Buffer.concat([uint32(bytes.length), bytes]);
};

/** Reads length-prefixed strings one after the other. Throws RangeError where the bytes end too early. */
export class WireReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  string(): Buffer {
    if (this.#offset + 4 > this.#bytes.length) throw new RangeError("ends too early");
    const start = this.#offset + 4;
    const end = start + this.#bytes.readUInt32BE(this.#offset);
    if (end > this.#bytes.length) throw new RangeError("ends too early");
    this.#offset = end;
    return this.#bytes.subarray(start, end);
  }
}
