import { z } from "zod";
import { rules, text, type ValidationRule } from "./fields.ts";

/**
 * How a node finds out whether what a guest is for works, in the terms of
 * Kubernetes' Probe, so that what is known from pods holds here.
 * https://kubernetes.io/docs/concepts/workloads/pods/probes/
 */

const port = z.int().min(1).max(65_535);

const tcpSocket = z.object({ port: port.describe("Port of the guest.") });

/** A path and a query as RFC 3986 has them: nothing in it means anything to a shell, a URL's host or a header. */
const httpPath = z
  .string()
  .max(1024)
  .regex(/^[/][-A-Za-z0-9._~!$&'()*+,;=:@%/?]*$/);

export const httpSchemes = ["HTTP", "HTTPS"] as const;

const httpGet = z.object({
  port: port.describe("Port of the guest."),
  path: httpPath
    .default("/")
    .describe('Path of the request, with its query if it has one, such as "/healthz?full=1".'),
  scheme: z
    .enum(httpSchemes)
    .default("HTTP")
    .describe("HTTP or HTTPS. The guest's certificate is not verified."),
});

const argument = text(1024)
  .refine((value) => !value.includes("\u0000"), "must not contain NUL")
  .meta({
    maxLength: 1024,
    ...rules({ rule: String.raw`!self.contains('\u0000')`, message: "must not contain NUL" }),
  });

const exec = z.object({
  command: z
    .array(argument)
    .min(1)
    .max(32)
    .describe(
      "Program and its arguments. It is started by the guest's agent as root, in no shell, and succeeds with exit code 0.",
    )
    .meta({
      "x-kubernetes-list-type": "atomic",
      ...rules({ rule: "self[0].size() > 0", message: "the first element is the program's name" }),
    }),
});

const seconds = z.int().max(86_400);
const threshold = z.int().min(1).max(1000);

const oneAction: ValidationRule = {
  rule: "[has(self.tcpSocket), has(self.httpGet), has(self.exec)].exists_one(isSet, isSet)",
  message: "exactly one of tcpSocket, httpGet and exec must be set",
};

const probe = (description: string, ...more: readonly ValidationRule[]) =>
  z
    .object({
      tcpSocket: tcpSocket
        .optional()
        .describe("Succeeds when the guest accepts a TCP connection on this port of its first address."),
      httpGet: httpGet
        .optional()
        .describe(
          "Succeeds when the guest answers a GET request to its first address with a status of 200 to 399. Redirects are not followed.",
        ),
      exec: exec
        .optional()
        .describe(
          "Succeeds when a program in the guest exits with code 0. The guest must run the QEMU guest agent, and allow guest-exec.",
        ),
      initialDelaySeconds: seconds
        .min(0)
        .default(0)
        .describe("Seconds between the start of the guest and the first probe."),
      periodSeconds: seconds
        .min(1)
        .default(10)
        .describe("Seconds between the starts of two probes. A probe that takes longer delays the next."),
      timeoutSeconds: z
        .int()
        .min(1)
        .max(300)
        .default(1)
        .describe("Seconds after which a probe without an answer has failed."),
      successThreshold: threshold
        .default(1)
        .describe("Successes in a row that it takes to be healthy again after a failure."),
      failureThreshold: threshold
        .default(3)
        .describe("Failures in a row that it takes to be no longer healthy."),
    })
    .describe(description)
    .meta(rules(oneAction, ...more));

export const livenessProbe = probe(
  "Tells whether the guest is alive. When it fails, the guest's power is cut; the run strategy decides whether it is started again. Give a guest time to boot: by initialDelaySeconds, or by failureThreshold times periodSeconds.",
  {
    rule: "self.successThreshold == 1",
    message: "must be 1 for a liveness probe",
    fieldPath: ".successThreshold",
  },
);

export const readinessProbe = probe(
  "Tells whether the guest can do its work. Until it succeeds, and while it fails, the machine is not Ready, and floating IPs go to others.",
);

/** One probe as its machine's spec has it, with every default filled in. */
export type Probe = z.output<typeof readinessProbe>;
