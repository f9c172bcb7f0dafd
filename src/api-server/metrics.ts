import { Counter, Gauge } from "prom-client";
import type { Metrics } from "../kube/index.ts";

export const createApiServerMetrics = ({ registry }: Metrics) => ({
  requests: new Counter({
    name: "vireo_subresource_requests_total",
    help: "Requests for subresources of machines, by subresource and HTTP status; 101 is a stream that began.",
    labelNames: ["subresource", "code"] as const,
    registers: [registry],
  }),
  streams: new Gauge({
    name: "vireo_subresource_streams",
    help: "Open consoles and other streams, by subresource.",
    labelNames: ["subresource"] as const,
    registers: [registry],
  }),
});

export type ApiServerMetrics = ReturnType<typeof createApiServerMetrics>;
