import type { Attempt } from "../../fakes/reach-oracle.ts";

/** What tests and the processes that probe for them say to each other. */

/** Every participant answers on these, over TCP and UDP. */
export const PORTS = [22, 53, 80, 1000, 1001, 1002, 1003, 5432, 8080] as const;

/** Protocols over IP that are listened to beside: ICMP, GRE, and one that is nobody's. */
export const IP_PROTOCOLS = [1, 47, 99] as const;

export type Command =
  /** `from` is the sender's address, if it is not to be chosen by the route. */
  | {
      readonly kind: "send";
      readonly attempt: Attempt;
      readonly address: string;
      readonly token: string;
      readonly from?: string | undefined;
    }
  | {
      readonly kind: "open";
      readonly id: string;
      readonly address: string;
      readonly port: number;
      readonly from?: string | undefined;
    }
  | { readonly kind: "say"; readonly id: string; readonly text: string };

export type Report =
  | { readonly kind: "ready" }
  /** By the receiver: the packet with this token has arrived. */
  | { readonly kind: "heard"; readonly token: string }
  /** By the sender: the answer has arrived. */
  | { readonly kind: "answered"; readonly token: string }
  | { readonly kind: "opened"; readonly id: string }
  | { readonly kind: "echo"; readonly id: string; readonly text: string }
  | { readonly kind: "closed"; readonly id: string };

/** The internet checksum; see RFC 1071. */
const checksum = (data: Buffer): number => {
  let sum = 0;
  for (let index = 0; index < data.length; index += 2) {
    sum += (data[index] ?? 0) * 256 + (data[index + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
};

let lastIdentifier = 0;

/** An ICMP echo request that carries `text`; each has an identifier of its own, as each ping has. */
export const echoRequest = (text: string): Buffer => {
  lastIdentifier = (lastIdentifier + 1) % 0xffff;
  const message = Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 0, 0, 1]), Buffer.from(text)]);
  message.writeUInt16BE(lastIdentifier, 4);
  message.writeUInt16BE(checksum(message), 2);
  return message;
};
