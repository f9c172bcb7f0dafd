import { NotSentError, OutcomeUnknownError } from "../../../libvirt/index.ts";

/**
 * Whether an error says something about this start, to be told on the object
 * and backed off. A lost libvirtd says nothing: the pass is simply repeated,
 * and looks at the state again first.
 */
export const isStartFailure = (error: unknown): error is Error =>
  error instanceof Error && !(error instanceof NotSentError) && !(error instanceof OutcomeUnknownError);
