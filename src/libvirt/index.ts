export * from "./types.ts";
export * from "./errors.ts";
export * from "./error-code.ts";
export * from "./constants.ts";
export * from "./event-constants.ts";
export { procedures } from "./procedures.ts";
export { XdrError } from "./xdr.ts";
export type { DomainEventKind, DomainEvents } from "./events.ts";
export type { Procedure } from "./procedure.ts";
