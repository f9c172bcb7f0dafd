import { createHash } from "node:crypto";

/**
 * First octet of every address we make: unicast and locally administered
 * (IEEE 802c), and not fe, which libvirt keeps for the host's end of a tap.
 */
const PREFIX = 0x02;

/**
 * The hardware address of a machine's card in a Network: 40 bits of a hash of
 * the two, so that it needs no memory. Should another machine have it, the next
 * in a fixed sequence is taken.
 *
 * @param isTaken by another machine, in whatever Network: they share a routing domain
 */
export const chooseMacAddress = (
  vmUid: string,
  network: string,
  isTaken: (macAddress: string) => boolean,
): string => {
  for (let attempt = 0; ; attempt += 1) {
    const address = candidate(vmUid, network, attempt);
    if (!isTaken(address)) return address;
  }
};

const candidate = (vmUid: string, network: string, attempt: number): string => {
  const digest = createHash("sha256").update(`${vmUid}/${network}/${attempt}`).digest();
  return [PREFIX, ...digest.subarray(0, 5)].map((octet) => octet.toString(16).padStart(2, "0")).join(":");
};
