/** A set of addresses in the kernel. https://ipset.netfilter.org/ipset.man.html */
export interface AddressSet {
  /** hash:ip: single addresses. hash:net: blocks, of which the smallest one that holds an address decides. */
  readonly type: "hash:ip" | "hash:net";
  /**
   * As ipset prints them: "192.0.2.1", "10.0.0.0/8", "10.1.0.0/16 nomatch".
   * A block of one address is written without a length; the length 0 is not possible.
   */
  readonly entries: ReadonlySet<string>;
}

/** Sets by name. */
export type AddressSets = ReadonlyMap<string, AddressSet>;
