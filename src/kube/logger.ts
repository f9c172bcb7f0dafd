import { pino, stdSerializers, stdTimeFunctions, type DestinationStream } from "pino";
import { formatKey, type ObjectKey } from "./object-key.ts";

type Write = (fields: Readonly<Record<string, unknown>>, message: string) => void;

/** Where the runtime tells what it does. An Error goes into the field `err`. */
export interface Logger {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  /** A logger whose every line carries these fields too. */
  child(fields: Readonly<Record<string, unknown>>): Logger;
}

export const logLevels = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerOptions {
  /** Default info. */
  readonly level?: LogLevel;
  /** Which program speaks: controller, node-agent. */
  readonly component: string;
  /** Where the lines go. Default: standard output. */
  readonly destination?: DestinationStream;
}

/** JSON lines, one per message, with times in RFC 3339. https://getpino.io */
export const createLogger = (options: LoggerOptions): Logger =>
  pino(
    {
      level: options.level ?? "info",
      base: { component: options.component },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err },
    },
    options.destination ?? pino.destination({ fd: 1, sync: true }),
  );

/** The logger for one object: its lines carry `object: "namespace/name"`. */
export const loggerFor = (logger: Logger, key: ObjectKey): Logger => logger.child({ object: formatKey(key) });

/** Says nothing. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};
