/** The reasons of Kubernetes' Status that are used here, with their codes. */
const codes = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  Conflict: 409,
  Invalid: 422,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
} as const;

export type ProblemReason = keyof typeof codes;

/** What a request is about, for the details of a Status. */
export interface ProblemSubject {
  readonly kind: string;
  readonly name: string;
}

/** Why a request is not done. The message is for people: what, of which object, and what to do. */
export class ApiProblem extends Error {
  override readonly name = "ApiProblem";
  readonly reason: ProblemReason;
  readonly subject: ProblemSubject | undefined;

  constructor(reason: ProblemReason, message: string, subject?: ProblemSubject) {
    super(message);
    this.reason = reason;
    this.subject = subject;
  }

  get code(): number {
    return codes[this.reason];
  }
}

/** The reason for an HTTP status that somebody else has answered with. */
export const reasonOfCode = (code: number): ProblemReason =>
  (Object.keys(codes) as ProblemReason[]).find((reason) => codes[reason] === code) ?? "InternalError";

const status = (fields: object): object => ({ apiVersion: "v1", kind: "Status", metadata: {}, ...fields });

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
export const statusOfProblem = ({ reason, code, message, subject }: ApiProblem): object =>
  status({
    status: "Failure",
    message,
    reason,
    ...(subject !== undefined && { details: subject }),
    code,
  });

export const successStatus = (subject: ProblemSubject): object =>
  status({ status: "Success", details: subject });
