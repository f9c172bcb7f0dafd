/**
 * A client of libvirtd in TypeScript, over libvirtd's own RPC socket.
 *
 * openLibvirt() for a client that keeps itself connected, connectLibvirt() for
 * one connection. docs/libvirt-client.md shows their use.
 */
export { connectLibvirt, type ConnectOptions, type LibvirtConnection } from "./connection.ts";
export { openLibvirt, type ClientOptions } from "./client.ts";
export type { BackOffOptions } from "./back-off.ts";
export type * from "./block-job-verbs.ts";
export type * from "./device-verbs.ts";
export type * from "./screen-verbs.ts";
export type * from "./snapshot-verbs.ts";
export type * from "./migration-verbs.ts";
export type { MigrateParameters } from "./migrate-parameters.ts";
export type { KeepaliveOptions } from "./keepalive.ts";
export type { DomainEventKind, DomainEvents } from "./events.ts";
export type { Procedure } from "./procedure.ts";
export { procedures } from "./procedures.ts";
export { XdrError } from "./xdr.ts";
export * from "./types.ts";
export {
  ClosedError,
  ConnectError,
  KeepaliveError,
  LibvirtError,
  NotSentError,
  OutcomeUnknownError,
  ProtocolError,
  StreamLimitError,
  type GivenUp,
  type LibvirtErrorDetails,
} from "./errors.ts";
export * from "./error-code.ts";
export * from "./constants.ts";
export * from "./device-constants.ts";
export * from "./job-constants.ts";
export * from "./event-constants.ts";
