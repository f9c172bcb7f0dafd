import { readFile } from "node:fs/promises";

import { z } from "zod";

/** One request that the API server has finished, as its audit log tells. */
const auditEventSchema = z.object({
  auditID: z.string(),
  stage: z.string(),
  verb: z.string(),
  user: z.object({ username: z.string() }),
  userAgent: z.string().optional(),
  objectRef: z
    .object({
      resource: z.string(),
      namespace: z.string().optional(),
      name: z.string().optional(),
      apiGroup: z.string().optional(),
      subresource: z.string().optional(),
    })
    .optional(),
  responseStatus: z.object({ code: z.int() }).optional(),
  requestReceivedTimestamp: z.string(),
  /** Absent when the request had no body, as a deletion may. */
  requestObject: z.unknown().optional(),
});

export type AuditEvent = z.infer<typeof auditEventSchema>;

/** Which events to return; a field that is absent matches everything. */
export interface AuditFilter {
  /** Plural, for instance "virtualmachines". */
  readonly resource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
  readonly user?: string;
}

/**
 * Records every write to an object of Vireo with its body, and nothing else:
 * tests count the writes that an operation costs.
 */
export const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    {
      level: "Request",
      verbs: ["create", "update", "patch", "delete", "deletecollection"],
      resources: [{ group: "vireo.dev" }],
    },
    { level: "None" },
  ],
} as const;

const agrees = (wanted: string | undefined, actual: string | undefined): boolean =>
  wanted === undefined || wanted === actual;

const matches = (event: AuditEvent, filter: AuditFilter): boolean => {
  const { objectRef } = event;
  return (
    agrees(filter.resource, objectRef?.resource) &&
    agrees(filter.namespace, objectRef?.namespace) &&
    agrees(filter.name, objectRef?.name) &&
    agrees(filter.subresource, objectRef?.subresource) &&
    agrees(filter.user, event.user.username)
  );
};

/** The writes to Vireo's objects so far, oldest first. */
export const readAuditLog = async (
  path: string,
  filter: AuditFilter = {},
): Promise<readonly AuditEvent[]> => {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    // The API server creates the file with its first event.
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => auditEventSchema.parse(JSON.parse(line)))
    .filter((event) => matches(event, filter));
};
