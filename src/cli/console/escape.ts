/** Ctrl-], as telnet, virsh and kubectl's relatives have it. */
export const ESCAPE = 0x1d;

export interface Typed {
  /** What goes to the guest. */
  readonly bytes: Uint8Array;
  /** Whether the user wants to leave; what was typed after that is nobody's. */
  readonly leaves: boolean;
}

/** Looks for the escape in what was typed. */
export const splitAtEscape = (bytes: Uint8Array): Typed => {
  const position = bytes.indexOf(ESCAPE);
  return position === -1 ? { bytes, leaves: false } : { bytes: bytes.subarray(0, position), leaves: true };
};
