import { ApiError, TransportError } from "../kube/index.ts";
import { SUBRESOURCE_GROUP } from "../api/subresources.ts";
import { CommandFailedError, UsageError } from "./errors.ts";

/** What went wrong, for a person: what with, why, and what to do. */
export const explain = (error: unknown): string => {
  if (error instanceof ApiError) return explainRefusal(error);
  if (error instanceof TransportError)
    return `${error.message}. No answer came from the API server; check --kubeconfig and --context, and whether it is reachable`;
  if (error instanceof CommandFailedError || error instanceof UsageError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
};

/** Whether trying again is of no use: the server has understood, and says no. A history that is forgotten is none. */
export const isFinal = (error: unknown): boolean =>
  error instanceof CommandFailedError ||
  (error instanceof ApiError && !error.isRetryable && !error.isExpired);

const advice: Readonly<Record<number, string>> = {
  401: "the API server does not know you: log in again, or choose another --context",
  403: 'you may not do that; "kubectl auth can-i --list" tells what you may, and your administrator changes it',
  409: "look at the object again; somebody else was faster, or it exists already",
  429: "the API server has too much to do; try again in a while",
  503: "the API server cannot do it now; try again in a while",
};

const explainRefusal = (error: ApiError): string => {
  if (isMissingApi(error))
    return `${error.message}. The cluster does not serve ${SUBRESOURCE_GROUP}: its administrator has to install "vireo api-server"`;
  const hint = advice[error.status];
  return hint === undefined ? error.message : `${error.message}. ${hint}`;
};

/** The API server's words for a path that no API has. */
const isMissingApi = ({ status, message }: ApiError): boolean =>
  status === 404 &&
  (message.includes("could not find the requested resource") || message.includes("404 page not found"));
