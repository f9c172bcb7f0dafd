import type { ReadableXdr, Xdr } from "./xdr.ts";

/**
 * One line of the procedure table: the number, and what its arguments and its
 * result look like on the wire. Its types follow from the two shapes.
 */
export interface Procedure<A, R> {
  /** The name in the table: domainGetState for REMOTE_PROC_DOMAIN_GET_STATE. */
  readonly name: string;
  /** One of Program: numbers are those of a program. */
  readonly program: number;
  readonly number: number;
  readonly args: Xdr<A>;
  readonly result: Xdr<R>;
}

/** A message that the daemon sends on its own. */
export interface Message<M> {
  readonly name: string;
  readonly number: number;
  readonly body: ReadableXdr<M>;
}
