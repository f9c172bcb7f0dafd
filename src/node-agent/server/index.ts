/** The door of the agent's server: what the api-server and other nodes may ask of this node. */
export { guestRoutes } from "./guest-routes.ts";
export { createServerMetrics, type ServerMetrics } from "./metrics.ts";
export { createPeerServer, type PeerServer, type PeerServerOptions, type ServerAddress } from "./server.ts";
export {
  guestProblems,
  PeerProblemError,
  type GuestCall,
  type GuestServices,
  type PeerAnswer,
  type PeerCall,
  type RequestRoute,
  type Route,
  type UpgradeRoute,
} from "./types.ts";
