import type { LibvirtErrorDetails } from "./errors.ts";
import type { DomainRef, TypedParameter, TypedValue } from "./types.ts";
import {
  array,
  char,
  double,
  hyper,
  int,
  list,
  mapped,
  opaque,
  optional,
  string,
  struct,
  uhyper,
  uint,
  union,
  XdrError,
  type Xdr,
} from "./xdr.ts";

/**
 * The values that several procedures share. The limits are those of current
 * libvirt: they were only ever raised.
 */

/** REMOTE_STRING_MAX */
export const STRING_MAX = 4_194_304;
/** REMOTE_DOMAIN_LIST_MAX */
export const DOMAIN_LIST_MAX = 16_384;
/** REMOTE_DOMAIN_JOB_STATS_MAX */
export const JOB_STATS_MAX = 64;
/** VIR_UUID_BUFLEN */
const UUID_BYTES = 16;

export const text = string(STRING_MAX);
export const optionalText = optional(text);

const UUID = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/i;
const uuidToText = (bytes: Buffer): string =>
  bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const uuidToBytes = (uuid: string): Buffer => {
  if (!UUID.test(uuid)) throw new XdrError(`${JSON.stringify(uuid)} is not a UUID with dashes`);
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
};

export const uuid: Xdr<string> = mapped(opaque(UUID_BYTES), uuidToText, uuidToBytes);

/** remote_nonnull_domain */
export const domain: Xdr<DomainRef> = struct({ name: text, uuid, id: int });
export const domains = list(domain, DOMAIN_LIST_MAX);
const network = struct({ name: text, uuid });

/**
 * remote_error. A reply whose message is absent has been seen from libvirt
 * itself, so absence is not malformed.
 */
const remoteError = struct({
  code: int,
  domain: int,
  message: optionalText,
  level: int,
  dom: optional(domain),
  str1: optionalText,
  str2: optionalText,
  str3: optionalText,
  int1: int,
  int2: int,
  net: optional(network),
});

export const errorReply: Xdr<LibvirtErrorDetails> = mapped(
  remoteError,
  ({ code, domain, level, message }) => ({ code, domain, level, message: message ?? "" }),
  ({ code, domain, level, message }) => ({
    code,
    domain,
    level,
    message,
    dom: undefined,
    str1: message,
    str2: undefined,
    str3: undefined,
    int1: 0,
    int2: 0,
    net: undefined,
  }),
);

/** https://libvirt.org/html/libvirt-libvirt-common.html#virTypedParameterType */
const TypedParameterType = {
  INT: 1,
  UINT: 2,
  LLONG: 3,
  ULLONG: 4,
  DOUBLE: 5,
  BOOLEAN: 6,
  STRING: 7,
} as const;

const expectType =
  <T extends TypedValue>(isT: (value: TypedValue) => value is T, name: string) =>
  (value: TypedValue): T => {
    if (!isT(value)) throw new XdrError(`${typeof value} instead of ${name}`);
    return value;
  };

const asNumber = expectType((value): value is number => typeof value === "number", "number");
const asBigint = expectType((value): value is bigint => typeof value === "bigint", "bigint");
const asString = expectType((value): value is string => typeof value === "string", "string");
const asBoolean = expectType((value): value is boolean => typeof value === "boolean", "boolean");

/** remote_typed_param_value */
const typedValue = union<TypedValue>(
  new Map<number, Xdr<TypedValue>>([
    [TypedParameterType.INT, mapped(int, (value): TypedValue => value, asNumber)],
    [TypedParameterType.UINT, mapped(uint, (value): TypedValue => value, asNumber)],
    [TypedParameterType.LLONG, mapped(hyper, (value): TypedValue => value, asBigint)],
    [TypedParameterType.ULLONG, mapped(uhyper, (value): TypedValue => value, asBigint)],
    [TypedParameterType.DOUBLE, mapped(double, (value): TypedValue => value, asNumber)],
    [
      TypedParameterType.BOOLEAN,
      mapped(
        int,
        (value): TypedValue => value !== 0,
        (value) => (asBoolean(value) ? 1 : 0),
      ),
    ],
    [TypedParameterType.STRING, mapped(text, (value): TypedValue => value, asString)],
  ]),
);

const typedParameter = struct({ field: text, value: typedValue });

/** The narrowest type that carries the value as it is. */
const typeOf = (value: TypedValue): number => {
  if (typeof value === "string") return TypedParameterType.STRING;
  if (typeof value === "boolean") return TypedParameterType.BOOLEAN;
  if (typeof value === "bigint") return value < 0n ? TypedParameterType.LLONG : TypedParameterType.ULLONG;
  if (!Number.isInteger(value) || Object.is(value, -0)) return TypedParameterType.DOUBLE;
  if (value === (value | 0)) return TypedParameterType.INT;
  return value === value >>> 0 ? TypedParameterType.UINT : TypedParameterType.DOUBLE;
};

/** Typed parameters in their order; one name may occur several times, which is how libvirt writes a list. */
export const typedParameterList = (max: number): Xdr<readonly TypedParameter[]> =>
  mapped(
    list(typedParameter, max),
    (entries): readonly TypedParameter[] => entries.map(({ field, value }) => [field, value.value]),
    (values) => values.map(([field, value]) => ({ field, value: { tag: typeOf(value), value } })),
  );

/** Typed parameters by name. A Map, since the names come from outside. */
export const typedParameters = (max: number): Xdr<ReadonlyMap<string, TypedValue>> =>
  mapped(
    typedParameterList(max),
    (entries): ReadonlyMap<string, TypedValue> => new Map(entries),
    (values) => [...values],
  );

/** C text in a fixed array of characters, each of which takes four bytes. */
export const fixedText = (length: number): Xdr<string> =>
  mapped(
    array(char, length),
    (codes) => {
      const end = codes.indexOf(0);
      return Buffer.from(codes.slice(0, end === -1 ? length : end)).toString("utf8");
    },
    (value) => {
      const bytes = [...Buffer.from(value, "utf8")];
      if (bytes.length > length) throw new XdrError(`${bytes.length} bytes of text exceed ${length}`);
      return Array.from({ length }, (_, index) => ((bytes[index] ?? 0) << 24) >> 24);
    },
  );
