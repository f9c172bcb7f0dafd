import { z } from "zod";

/**
 * Field types that several kinds share. Every string, list and number has a
 * maximum: the API server's budget for CEL rules needs one, and so does a host.
 *
 * What the API server accepts, the parser must accept too: an object that is
 * stored and cannot be read would stop a controller for good. That is why text
 * is counted in characters here, and why patterns use only what means the same
 * in RE2 and in JavaScript (test/api/parser-agreement.test.ts).
 */

/**
 * A rule in CEL that the API server checks on the value that carries it.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
 */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  /** The member that the message is about, for example ".hostname". Default: the value itself. */
  readonly fieldPath?: string;
  /** Default FieldValueInvalid. */
  readonly reason?:
    | "FieldValueInvalid"
    | "FieldValueForbidden"
    | "FieldValueRequired"
    | "FieldValueDuplicate";
}

/** Metadata of a schema that puts CEL rules into the CRD. */
export const rules = (...list: readonly ValidationRule[]) => ({ "x-kubernetes-validations": list });

/** The whole value stays as it was when the object was made. */
export const unchangeable = (message: string): ValidationRule => ({
  rule: "self == oldSelf",
  message,
  reason: "FieldValueForbidden",
});

/** A member stays as it was when the object was made: neither changed nor added nor taken away. */
export const unchangeableMember = (member: string, message: string): ValidationRule => ({
  rule: `has(self.${member}) == has(oldSelf.${member}) && (!has(self.${member}) || self.${member} == oldSelf.${member})`,
  message,
  fieldPath: `.${member}`,
  reason: "FieldValueForbidden",
});

/** Exactly one of these optional members is set: how a union is written in a structural schema. */
export const exactlyOneOf = (...members: readonly string[]): ValidationRule => ({
  rule: `[${members.map((member) => `has(self.${member})`).join(", ")}].filter(given, given).size() == 1`,
  message: `exactly one of ${members.slice(0, -1).join(", ")} and ${members.at(-1) ?? ""} must be set`,
});

/** A quantity stays as it is, or becomes larger. */
export const mayOnlyGrow = (message: string): ValidationRule => ({
  rule: "quantity(self).compareTo(quantity(oldSelf)) >= 0",
  message,
  reason: "FieldValueForbidden",
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

/** The value of a label; may be empty. */
export const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

/** The key of a label: an optional DNS prefix and a slash, then a name of at most 63 characters. */
const LABEL_KEY = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/** Labels that an object must have, at most 16. */
export const labelSelector = z
  .record(z.string().regex(new RegExp(LABEL_KEY)), labelValue)
  .refine((labels) => Object.keys(labels).length <= 16, "at most 16 labels")
  .meta({
    maxProperties: 16,
    // Structural schemas say nothing about keys.
    ...rules({
      rule: `self.all(key, key.matches('${LABEL_KEY}'))`,
      message: "every key must be a label key, such as disk or example.com/disk",
    }),
  });

/**
 * Text in any script, up to a number of characters. z.string().max() counts
 * UTF-16 units, of which one emoji has two: it would refuse what the API server took.
 */
export const text = (maximum: number) =>
  z
    .string()
    .refine(
      (value) => value.length <= maximum || Array.from(value).length <= maximum,
      `at most ${maximum} characters`,
    )
    .meta({ maxLength: maximum });

/** A version as a program tells it of itself, for example 10.0.0 or 9.2.4+dfsg-1. */
export const versionText = z
  .string()
  .max(64)
  .regex(/^[A-Za-z0-9][-A-Za-z0-9.+~:_() ]*$/);

export const ipv4Address = z.ipv4().max(15);
export const ipv4Cidr = z.cidrv4().max(18);

export const macAddress = z
  .string()
  .max(17)
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);

const quantityText = z
  .string()
  .max(18)
  .regex(/^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$/);

/**
 * An amount of memory or storage in Kubernetes' notation: a whole number with
 * a binary or decimal suffix, or of bytes. Always a string: the bare number
 * `memory: 512` of somebody who thinks in MiB is refused for its type instead
 * of being taken for 512 bytes.
 */
export const quantity = quantityText.meta(
  rules({
    rule: "quantity(self).compareTo(quantity('64Ti')) <= 0",
    message: "must be at most 64Ti",
  }),
);

/** A quantity between two others that is a whole number of MiB, the unit of libvirt and of the scheduler. */
export const wholeMebibytes = (minimum: string, maximum: string, ...further: readonly ValidationRule[]) =>
  quantityText.meta(
    rules(
      {
        rule: `quantity(self).compareTo(quantity('${minimum}')) >= 0 && quantity(self).compareTo(quantity('${maximum}')) <= 0 && quantity(self).asInteger() % 1048576 == 0`,
        message: `must be between ${minimum} and ${maximum}, and a whole number of MiB`,
      },
      ...further,
    ),
  );

/** An amount in MiB, up to 1 EiB. */
export const mebibytes = z.int().min(0).max(1_099_511_627_776);

/** A digest of a file's content, as in OCI: algorithm and lower-case hex. */
export const checksum = z
  .string()
  .max(135)
  .regex(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);

/** A key in the data of a Secret. */
export const secretKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[-._a-zA-Z0-9]+$/);

/** The UID of an object. */
export const objectUid = z.uuid().max(36);

/** The disks that something can be copied from, as the controller resolved them: nodes know disks by UIDs only. */
export const diskReference = z.object({
  machineUid: objectUid.optional().describe("UID of the machine whose root disk it is."),
  volumeUid: objectUid.optional().describe("UID of the Volume."),
  snapshotUid: objectUid
    .optional()
    .describe("UID of the snapshot in which the disk is meant. Absent: the disk as it is at this moment."),
});
export type DiskReference = z.output<typeof diskReference>;

/** RFC 3339 in UTC. */
export const timestamp = z.iso.datetime().max(30);

/** Bytes as a number: exact up to 8 PiB. */
export const byteCount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const generation = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const observedGeneration = generation
  .optional()
  .describe(
    "The metadata.generation that this status speaks of. While it is lower than the object's, the status is about an earlier spec.",
  );

export const conditionObservedGeneration = generation
  .optional()
  .describe("The metadata.generation that this condition was worked out from.");
