import type { IncomingHttpHeaders } from "node:http";
import type { Duplex, Readable } from "node:stream";
import type { PeerIdentity, PeerKind } from "../../pki/index.ts";

/** What is asked, and by whom. */
export interface PeerCall {
  /** Who asks, as its certificate says. */
  readonly peer: PeerIdentity;
  /**
   * The user on whose behalf, as the api-server says; undefined when an agent asks.
   * For logs and records: what he may do was decided before.
   */
  readonly requester: string | undefined;
  /** The variable segments of the path. Letters, digits, dots, dashes and underscores; never "." or "..". */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Must be read to its end or left alone: what nobody reads is thrown away after the answer. */
  readonly body: Readable;
  /** Aborted when the caller leaves and when the server ends. Not a deadline: silence is broken by the server. */
  readonly signal: AbortSignal;
}

export interface PeerAnswer {
  /** Default 200, or 204 without a body. */
  readonly status?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | Uint8Array | Readable | undefined;
}

interface RouteBase {
  /** For example "/v1/images/:uid"; what a colon begins is in `params`. */
  readonly path: `/v1/${string}`;
  /** Everybody else is refused. */
  readonly allow: PeerKind;
}

/** A request with an answer. Throw PeerProblemError to refuse. */
export interface RequestRoute extends RouteBase {
  readonly kind: "request";
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly handle: (call: PeerCall) => Promise<PeerAnswer>;
}

/**
 * A connection that becomes a stream of bytes both ways (GET with Upgrade). The
 * handler gives the other end; the server joins the two and destroys both when
 * either ends. Throw PeerProblemError to refuse.
 */
export interface UpgradeRoute extends RouteBase {
  readonly kind: "upgrade";
  readonly handle: (call: PeerCall) => Promise<Duplex>;
}

export type Route = RequestRoute | UpgradeRoute;

/** Why a call is refused: becomes the answer's status and body. */
export class PeerProblemError extends Error {
  override readonly name = "PeerProblemError";
  /** HTTP status code. */
  readonly status: number;
  /** Machine-readable, in CamelCase. */
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** A guest as it is asked for: by the UID of its VirtualMachine. */
export interface GuestCall {
  readonly uid: string;
  /** The user on whose behalf. */
  readonly requester: string;
  readonly signal: AbortSignal;
}

/**
 * What the API server may ask of this node's guests. Implemented where the
 * rooms are known. Refuses with the errors of guestProblems.
 */
export interface GuestServices {
  /** The serial console: the recent part of the log, then what comes; what is written goes to the guest. */
  console(call: GuestCall): Promise<Duplex>;
  /** The VNC protocol (RFB). */
  vnc(call: GuestCall): Promise<Duplex>;
  spice(call: GuestCall): Promise<Duplex>;
  /** A TCP connection from the node to a port of the guest's own address, and to nothing else. */
  tcp(call: GuestCall & { readonly port: number }): Promise<Duplex>;
  /** What the serial console has said since boot, as far as it is kept. */
  log(call: GuestCall): Promise<Readable>;
  /** The screen, as PNG. */
  screenshot(call: GuestCall): Promise<Uint8Array>;
  /** Each of these resolves when the request is recorded; what follows is seen in the machine's status. */
  restart(call: GuestCall): Promise<void>;
  pause(call: GuestCall): Promise<void>;
  unpause(call: GuestCall): Promise<void>;
}

/** The ways in which a guest's service is refused. */
export const guestProblems = {
  /** This node has no machine with that UID: it is placed elsewhere, or gone. */
  notHere: (uid: string): PeerProblemError =>
    new PeerProblemError(404, "NotFound", `the node has no machine with the UID ${uid}`),
  /** @param message what the state is, and what it must be */
  wrongState: (message: string): PeerProblemError => new PeerProblemError(409, "Conflict", message),
  /** @param message what the guest lacks, and how it would get it */
  unsupported: (message: string): PeerProblemError => new PeerProblemError(422, "Invalid", message),
  /** The guest, or libvirt, does not answer. */
  unavailable: (message: string): PeerProblemError =>
    new PeerProblemError(503, "ServiceUnavailable", message),
} as const;
