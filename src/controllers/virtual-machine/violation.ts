/** Why a machine cannot be placed yet, or has not all that its spec names. */
export interface Violation {
  /** One CamelCase word for the condition's reason. */
  readonly reason: string;
  /** Which object, what is wrong with it, and what to do. */
  readonly message: string;
  /** missing: an object that may come any moment. lasting: only a person can help. passing: it may pass by itself. */
  readonly kind: "missing" | "passing" | "lasting";
}

/** Reason: the machine's node does not have the room. */
export const INSUFFICIENT_CAPACITY = "InsufficientCapacity";

export const missing = (reason: string, message: string): Violation => ({ kind: "missing", reason, message });
export const passing = (reason: string, message: string): Violation => ({ kind: "passing", reason, message });
export const lasting = (reason: string, message: string): Violation => ({ kind: "lasting", reason, message });
