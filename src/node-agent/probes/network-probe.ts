import type { Probe } from "../../api/probe.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import { oneLine } from "./message.ts";
import type { ProbedGuest, ProbeResult } from "./types.ts";

/**
 * Probes over the network, by programs that bind their socket to the guest's
 * tap: two guests of different Networks may have the same address, and Node
 * cannot choose the device of a socket. Arguments are vectors of checked
 * values; no shell and no file of anybody's settings is involved.
 */

type Target = Pick<ProbedGuest, "tap" | "address">;
type HttpGet = NonNullable<Probe["httpGet"]>;

/** A program that does not keep its own deadline is ended this many ms later. */
const GRACE_MS = 1_000;
const MAX_OUTPUT_BYTES = 16_384;

/** https://everything.curl.dev/cmdline/exitcode.html */
const CURL_COULD_NOT_CONNECT = 7;
const CURL_TIMED_OUT = 28;
const CURL_INTERFACE_FAILED = 45;

/**
 * The body is thrown away at its first byte, which no device takes less of
 * than /dev/full: it may be endless, and the status is all that is asked for.
 */
const curlArguments = ({ tap, address }: Target, get: HttpGet, timeoutSeconds: number): string[] => {
  const scheme = get.scheme.toLowerCase();
  return [
    // First: no settings of whoever runs the agent.
    ["-q"],
    ["--silent"],
    ["--globoff"],
    ["--path-as-is"],
    ["--insecure"],
    ["--no-buffer"],
    ["--http1.1"],
    ["--proto", `=${scheme}`],
    ["--noproxy", "*"],
    ["--interface", `if!${tap}`],
    ["--max-time", String(timeoutSeconds)],
    ["--user-agent", "vireo-probe"],
    ["--output", "/dev/full"],
    ["--write-out", "%{stderr}%{http_code} %{exitcode} %{errormsg}"],
    ["--url", `${scheme}://${address}:${get.port}${get.path}`],
  ].flat();
};

/** What curl's --write-out says: "200 0 " or "000 7 Failed to connect …". */
const judgeHttp = (said: string, timeoutSeconds: number): ProbeResult => {
  const [, status = "", code = "", message = ""] = /^(\d{3}) (\d+) ?([^]*)$/.exec(said) ?? [];
  if (status === "") return { kind: "unknown", message: oneLine(`curl said ${JSON.stringify(said)}`) };
  if (Number(code) === CURL_INTERFACE_FAILED) return { kind: "unknown", message: oneLine(message) };
  if (Number(status) >= 200 && Number(status) < 400) return { kind: "success" };
  if (Number(status) >= 100) return { kind: "failure", message: `HTTP status ${status}` };
  if (Number(code) === CURL_TIMED_OUT) {
    return { kind: "failure", message: `no answer within ${timeoutSeconds} s` };
  }
  if (Number(code) === CURL_COULD_NOT_CONNECT) return { kind: "failure", message: "cannot connect" };
  return { kind: "failure", message: oneLine(message) };
};

const socatArguments = ({ tap, address }: Target, port: number, timeoutSeconds: number): string[] => [
  "-u",
  "OPEN:/dev/null",
  `TCP4:${address}:${port},so-bindtodevice=${tap},connect-timeout=${timeoutSeconds}`,
];

/** socat's last words: "… socat[1] E connect(5, AF=2 10.0.0.2:80, 16): Connection refused". */
const judgeTcp = ({ stderr, failure }: CommandError, timeoutSeconds: number): ProbeResult => {
  const said = stderr.split("\n").at(-1) ?? "";
  const why = said.slice(said.lastIndexOf(": ") + 2);
  if (failure === "timeout" || why === "Connection timed out") {
    return { kind: "failure", message: `no connection within ${timeoutSeconds} s` };
  }
  return failure === "exit" && / connect\(/.test(said)
    ? { kind: "failure", message: oneLine(why.toLowerCase()) }
    : { kind: "unknown", message: oneLine(said === "" ? `socat: ${failure}` : said) };
};

interface Options {
  readonly signal: AbortSignal;
  readonly timeoutSeconds: number;
}

export interface NetworkProbes {
  http(target: Target, get: HttpGet, options: Options): Promise<ProbeResult>;
  tcp(target: Target, port: number, options: Options): Promise<ProbeResult>;
}

/** Both resolve with whatever happens; they reject only when aborted. */
export const createNetworkProbes = (run: RunCommand): NetworkProbes => {
  /** Standard error of the program, or how it failed. */
  const attempt = async (file: string, args: readonly string[], { signal, timeoutSeconds }: Options) => {
    const timeoutMs = timeoutSeconds * 1_000 + GRACE_MS;
    try {
      return (await run(file, args, { signal, timeoutMs, maxOutputBytes: MAX_OUTPUT_BYTES })).stderr;
    } catch (error) {
      if (!(error instanceof CommandError) || error.failure === "aborted") throw error;
      return error;
    }
  };
  return {
    http: async (target, get, options) => {
      const { timeoutSeconds } = options;
      const said = await attempt("curl", curlArguments(target, get, timeoutSeconds), options);
      if (typeof said === "string") return judgeHttp(said, timeoutSeconds);
      if (said.failure === "timeout") {
        return { kind: "failure", message: `no answer within ${timeoutSeconds} s` };
      }
      return said.failure === "exit"
        ? judgeHttp(said.stderr, timeoutSeconds)
        : { kind: "unknown", message: oneLine(said.message) };
    },
    tcp: async (target, port, options) => {
      const { timeoutSeconds } = options;
      const said = await attempt("socat", socatArguments(target, port, timeoutSeconds), options);
      return typeof said === "string" ? { kind: "success" } : judgeTcp(said, timeoutSeconds);
    },
  };
};
