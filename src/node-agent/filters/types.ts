/** What the filter has to know of one interface of a guest. */
export interface GuestFilter {
  readonly vmUid: string;
  /** Name of the tap on this node. */
  readonly tap: string;
  /** The only hardware address that the guest may send from. */
  readonly macAddress: string;
  /** The only address that the guest may send from. */
  readonly address: string;
  /** The guest's router, an address of this node: the guest may ping it, and nothing else of the node. */
  readonly gateway: string;
}
