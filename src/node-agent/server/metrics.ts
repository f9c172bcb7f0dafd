import { Counter, Gauge } from "prom-client";
import type { Metrics } from "../../kube/index.ts";

export const createServerMetrics = ({ registry }: Metrics) => ({
  requests: new Counter({
    name: "vireo_peer_requests_total",
    help: "Requests of other programs of Vireo to this agent, by route and HTTP status.",
    labelNames: ["route", "code"] as const,
    registers: [registry],
  }),
  streams: new Gauge({
    name: "vireo_peer_streams",
    help: "Streams to guests and other nodes that are open, by route.",
    labelNames: ["route"] as const,
    registers: [registry],
  }),
});

export type ServerMetrics = ReturnType<typeof createServerMetrics>;
