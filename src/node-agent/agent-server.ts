import type { KubeClient, Logger, Metrics, Task } from "../kube/index.ts";
import { createPeerClient, createPeerCredentials, type PeerClient } from "../pki/index.ts";
import type { NodeAgentConfig } from "./config.ts";
import {
  createPeerServer,
  createServerMetrics,
  guestRoutes,
  type GuestServices,
  type PeerServer,
  type Route,
} from "./server/index.ts";

export interface AgentServerOptions {
  readonly config: Pick<NodeAgentConfig, "nodeName" | "serverAddress" | "serverPort">;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Where other nodes reach this one; undefined while it has no such address. */
  readonly tunnelAddress: () => string | undefined;
}

/** The agent's certificate, what it serves with it, and whom it asks with it. */
export interface AgentServer {
  /** Requests to other agents, as this node's agent. */
  readonly peers: PeerClient;
  /** Tasks that serve consoles to the api-server and these routes to other agents. Call it once. */
  tasks(serving: {
    readonly services: GuestServices;
    readonly routes: readonly Route[];
  }): Readonly<Record<string, Task>>;
  /** "address:port" while it serves: Hypervisor.status.agentEndpoint. */
  endpoint(): string | undefined;
  /** Calls back when the endpoint has changed. */
  onChange(listener: () => void): () => void;
}

export const createAgentServer = (options: AgentServerOptions): AgentServer => {
  const { config, client, logger, metrics } = options;
  const identity = { kind: "node-agent", nodeName: config.nodeName } as const;
  const credentials = createPeerCredentials({ identity, client, logger, metrics });
  const listeners = new Set<() => void>();
  let server: PeerServer | undefined;
  return {
    peers: createPeerClient(() => credentials.current()),
    endpoint: () => server?.endpoint(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    tasks: ({ services, routes }) => {
      const serving = createPeerServer({
        credentials,
        address: () => {
          const host = config.serverAddress ?? options.tunnelAddress();
          return host === undefined ? undefined : { host, port: config.serverPort };
        },
        routes: [...guestRoutes(services), ...routes],
        logger,
        metrics: createServerMetrics(metrics),
      });
      serving.onChange(() => {
        for (const listener of listeners) listener();
      });
      server = serving;
      return {
        certificate: (signal) => credentials.run(signal),
        server: (signal) => serving.run(signal),
      };
    },
  };
};
