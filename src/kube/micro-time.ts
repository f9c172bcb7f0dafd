/** A time as metav1.MicroTime wants it (Lease, Event): RFC 3339 with six digits, where three are refused. */
export const microTime = (epochMs: number): string => new Date(epochMs).toISOString().replace("Z", "000Z");
