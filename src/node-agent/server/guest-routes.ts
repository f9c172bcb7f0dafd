import type { Duplex } from "node:stream";
import {
  type GuestCall,
  type GuestServices,
  type PeerCall,
  PeerProblemError,
  type RequestRoute,
  type Route,
  type UpgradeRoute,
} from "./types.ts";

const API_SERVER = { allow: "api-server" } as const;

/** What the API server asks of guests: /v1/guests/<uid of the VirtualMachine>/… */
export const guestRoutes = (services: GuestServices): readonly Route[] => [
  stream("console", (call) => services.console(call)),
  stream("vnc", (call) => services.vnc(call)),
  stream("spice", (call) => services.spice(call)),
  {
    kind: "upgrade",
    path: "/v1/guests/:uid/tcp/:port",
    ...API_SERVER,
    handle: async (call) => services.tcp({ ...guestCall(call), port: portOf(call) }),
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/guests/:uid/log",
    ...API_SERVER,
    handle: async (call) => ({
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: await services.log(guestCall(call)),
    }),
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/guests/:uid/screenshot",
    ...API_SERVER,
    handle: async (call) => ({
      headers: { "content-type": "image/png" },
      body: await services.screenshot(guestCall(call)),
    }),
  },
  action("restart", (call) => services.restart(call)),
  action("pause", (call) => services.pause(call)),
  action("unpause", (call) => services.unpause(call)),
];

const stream = (name: string, open: (call: GuestCall) => Promise<Duplex>): UpgradeRoute => ({
  kind: "upgrade",
  path: `/v1/guests/:uid/${name}`,
  ...API_SERVER,
  handle: async (call) => open(guestCall(call)),
});

const action = (name: string, act: (call: GuestCall) => Promise<void>): RequestRoute => ({
  kind: "request",
  method: "POST",
  path: `/v1/guests/:uid/${name}`,
  ...API_SERVER,
  handle: async (call) => {
    await act(guestCall(call));
    return {};
  },
});

const guestCall = ({ params, requester, signal }: PeerCall): GuestCall => {
  if (requester === undefined)
    throw new PeerProblemError(400, "BadRequest", "the request does not say on whose behalf it comes");
  return { uid: params["uid"] ?? "", requester, signal };
};

const portOf = ({ params: { port: text = "" } }: PeerCall): number => {
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new PeerProblemError(400, "BadRequest", `${JSON.stringify(text)} is not a port from 1 to 65535`);
};
