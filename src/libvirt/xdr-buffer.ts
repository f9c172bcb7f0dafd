/** A value that XDR cannot carry, or bytes that are not the expected XDR. `path` says where in the value. */
export class XdrError extends Error {
  override readonly name = "XdrError";
  readonly path: readonly string[];
  readonly problem: string;

  constructor(problem: string, path: readonly string[] = []) {
    super(path.length === 0 ? problem : `${path.join(".")}: ${problem}`);
    this.path = path;
    this.problem = problem;
  }
}

const UNIT = 4;
const paddingOf = (length: number): number => (UNIT - (length % UNIT)) % UNIT;

/** Appends XDR items to bytes that grow up to a limit. */
export class XdrWriter {
  #buffer: Buffer;
  #length = 0;
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#buffer = Buffer.allocUnsafe(Math.min(maxBytes, 256));
  }

  get length(): number {
    return this.#length;
  }

  /** Appends `size` bytes that `fill` sets, given the buffer and the offset of the first. */
  append(size: number, fill: (buffer: Buffer, offset: number) => void): void {
    const end = this.#length + size;
    if (end > this.#maxBytes) throw new XdrError(`message exceeds ${this.#maxBytes} bytes`);
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.#maxBytes, Math.max(end, this.#buffer.length * 2)));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    fill(this.#buffer, this.#length);
    this.#length = end;
  }

  /** Appends bytes, filled up with zeros to a multiple of four. */
  appendPadded(bytes: Uint8Array): void {
    const padded = bytes.length + paddingOf(bytes.length);
    this.append(padded, (buffer, offset) => {
      buffer.set(bytes, offset);
      buffer.fill(0, offset + bytes.length, offset + padded);
    });
  }

  /** The bytes so far. They are shared with this writer: write no more. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
}

/** Takes XDR items from the front of bytes. */
export class XdrReader {
  readonly #buffer: Buffer;
  #offset = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get remaining(): number {
    return this.#buffer.length - this.#offset;
  }

  /** Takes `size` bytes as `read` sees them, given the buffer and the offset of the first. */
  take<T>(size: number, read: (buffer: Buffer, offset: number) => T): T {
    if (size > this.remaining) {
      throw new XdrError(`ends ${size - this.remaining} bytes too early`);
    }
    const value = read(this.#buffer, this.#offset);
    this.#offset += size;
    return value;
  }

  /** Takes bytes and the zeros that fill them up to a multiple of four. The result is a view. */
  takePadded(length: number): Buffer {
    const padding = paddingOf(length);
    return this.take(length + padding, (buffer, offset) => {
      const end = offset + length;
      for (let at = end; at < end + padding; at += 1) {
        if (buffer[at] !== 0) throw new XdrError("padding is not zero");
      }
      return buffer.subarray(offset, end);
    });
  }

  /** Throws unless everything was taken. */
  finish(): void {
    if (this.remaining > 0) throw new XdrError(`${this.remaining} bytes are left over`);
  }
}
