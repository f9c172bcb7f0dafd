import type { Logger } from "../../src/kube/logger.ts";

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Keeps what is logged, for tests that care. */
export const createRecordingLogger = (): Logger & { readonly lines: LogLine[] } => {
  const lines: LogLine[] = [];
  const loggerWith = (base: Readonly<Record<string, unknown>>): Logger => {
    const write =
      (level: LogLine["level"]): Logger["info"] =>
      (fields, message) =>
        void lines.push({ level, message, fields: { ...base, ...fields } });
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
      child: (fields) => loggerWith({ ...base, ...fields }),
    };
  };
  return { lines, ...loggerWith({}) };
};
