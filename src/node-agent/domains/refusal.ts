import { ErrorCode, LibvirtError } from "../../libvirt/index.ts";
import { DomainRefusedError } from "./types.ts";

/** libvirt's answers to a description that it will not accept tomorrow either. */
const refusals: ReadonlySet<number> = new Set([
  ErrorCode.XML_ERROR,
  ErrorCode.XML_INVALID_SCHEMA,
  ErrorCode.CONFIG_UNSUPPORTED,
  ErrorCode.NO_SUPPORT,
  ErrorCode.ARGUMENT_UNSUPPORTED,
  ErrorCode.OPERATION_UNSUPPORTED,
  ErrorCode.DOM_EXIST,
]);

/** Gives an error of libvirt the type that says whether trying again can help. */
export const asRefusal = (error: unknown, domain: string): unknown =>
  error instanceof LibvirtError && refusals.has(error.code)
    ? new DomainRefusedError(`libvirt refuses domain ${domain}: ${error.message}`, { cause: error })
    : error;
