import type { DomainRef, Procedure } from "../../src/libvirt/index.ts";
import type { procedures } from "../../src/libvirt/procedures.ts";
import { refOf, type FakeDomain, type FakeDomains } from "./libvirt-domains.ts";
import type { FakeLibvirtOptions } from "./libvirt-server.ts";

export type ProcedureName = keyof typeof procedures;

/** What an answer may use. */
export interface Context {
  readonly server: { readonly options: FakeLibvirtOptions };
  readonly domains: FakeDomains;
  /** Registers the client for events of that id and returns the subscription's number. */
  readonly register: (eventId: number) => number;
  /** What happens when the client's connection ends. One for each key; undefined takes it back. */
  readonly onClose: (key: string, action: (() => void) | undefined) => void;
  /** Sends that on a stream after the reply, and then its end. */
  readonly stream: (bytes: Buffer) => void;
}

type Answer<P> = P extends Procedure<infer A, infer R> ? (args: A, context: Context) => R : never;

/** What the fake does for each procedure of the table. */
export type Answers = { readonly [K in ProcedureName]: Answer<(typeof procedures)[K]> };

export const found = ({ domains }: Context, { dom }: { dom: DomainRef }): FakeDomain =>
  domains.byUuid(dom.uuid);
export const reply = (domain: FakeDomain): { dom: DomainRef } => ({ dom: refOf(domain) });
