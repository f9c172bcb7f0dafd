import { describePeer, type PeerIdentity } from "../../pki/index.ts";
import { PeerProblemError, type Route } from "./types.ts";

export interface Match<R extends Route = Route> {
  readonly route: R;
  readonly params: Readonly<Record<string, string>>;
}

/** What a variable segment may be: nothing that means something in a path, encoded or not. */
const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

/**
 * The routes whose path this is. Several when they differ in their method or
 * in whom they allow; none when there is no such path.
 */
export const matchPath = (routes: readonly Route[], pathname: string): readonly Match[] => {
  const segments = pathname.split("/");
  return routes.flatMap((route) => {
    const params = paramsOf(route.path.split("/"), segments);
    return params === undefined ? [] : [{ route, params }];
  });
};

const paramsOf = (
  pattern: readonly string[],
  segments: readonly string[],
): Readonly<Record<string, string>> | undefined => {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, wanted] of pattern.entries()) {
    const found = segments[index] ?? "";
    if (!wanted.startsWith(":")) {
      if (wanted !== found) return undefined;
    } else if (SEGMENT.test(found)) params[wanted.slice(1)] = found;
    else return undefined;
  }
  return params;
};

export interface Question {
  /** Undefined: the certificate is nobody's that is known here. */
  readonly peer: PeerIdentity | undefined;
  readonly method: string;
  readonly pathname: string;
  /** Whether the connection is to become a stream of bytes. */
  readonly wantsUpgrade: boolean;
}

/** The route of a call. Throws PeerProblemError when there is none for it. */
export const chooseRoute = (routes: readonly Route[], question: Question): Match => {
  const { peer, method, pathname, wantsUpgrade } = question;
  const known = matchPath(routes, pathname);
  if (known.length === 0) throw new PeerProblemError(404, "NotFound", `there is no ${pathname}`);
  const allowed = known.filter(({ route }) => route.allow === peer?.kind);
  if (allowed.length === 0) throw forbidden(peer, pathname);
  const fitting = allowed.filter(({ route }) => (route.kind === "upgrade") === wantsUpgrade);
  if (fitting.length === 0)
    throw wantsUpgrade
      ? new PeerProblemError(400, "BadRequest", `${pathname} is not a stream: ask without Upgrade`)
      : new PeerProblemError(426, "UpgradeRequired", `${pathname} is a stream: ask with Upgrade`);
  const match = fitting.find(({ route }) => methodOf(route) === method);
  if (match === undefined)
    throw new PeerProblemError(405, "MethodNotAllowed", `${pathname} cannot be asked for by ${method}`);
  return match;
};

const methodOf = (route: Route): string => (route.kind === "upgrade" ? "GET" : route.method);

const forbidden = (peer: PeerIdentity | undefined, pathname: string): PeerProblemError => {
  const who = peer === undefined ? "whoever this certificate is for" : describePeer(peer);
  return new PeerProblemError(403, "Forbidden", `${pathname} is not for ${who}`);
};
