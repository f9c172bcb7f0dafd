import { z } from "zod";

/**
 * Field types that several kinds share. Every string and list has a maximum:
 * the API server's budget for CEL rules needs one, and so does a host.
 */

/** metadata carried into the CRD: CEL rules on one field. */
export const rules = (...list: readonly { rule: string; message: string }[]) => ({
  "x-kubernetes-validations": list,
});

/** The name of an object: RFC 1123 subdomain. */
export const objectName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);

/** RFC 1123 label. */
export const dnsLabel = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);

export const ipv4Address = z.ipv4();
export const ipv4Cidr = z.cidrv4();

export const macAddress = z
  .string()
  .max(17)
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);

/** An amount of memory or storage in Kubernetes' notation. Binary or decimal suffix, no exponent, no fraction. */
export const quantity = z
  .string()
  .max(24)
  .regex(/^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$/);

/** A digest of a file's content, as in OCI: algorithm and lower-case hex. */
export const checksum = z
  .string()
  .max(135)
  .regex(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);

export const timestamp = z.iso.datetime();

/** Bytes as a number: exact up to 8 PiB. */
export const byteCount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const observedGeneration = z
  .int()
  .min(0)
  .optional()
  .describe(
    "The metadata.generation that this status speaks of. While it is older, the status is of an earlier spec.",
  );
