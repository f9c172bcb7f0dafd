import type { Acceleration } from "../api/hypervisor.ts";
import type { CloudInit } from "./cloud-init/index.ts";
import type { Disks } from "./disks/index.ts";
import type { Domains, LiveDomains } from "./domains/index.ts";
import type { Links } from "./links/index.ts";
import type { Migrations } from "./migrations/index.ts";
import type { Probes } from "./probes/index.ts";
import type { Volumes } from "./volumes/index.ts";

/** The rooms of this node that passes over objects work in. */
export interface NodeRooms {
  /** Images that the node holds. */
  readonly images: Disks;
  readonly volumes: Volumes;
  readonly cloudInit: CloudInit;
  readonly links: Links;
  readonly domains: Domains;
  /** Changes to guests that are on. */
  readonly live: LiveDomains;
  readonly probes: Probes;
  readonly migrations: Migrations;
  /** As probed by running a guest. */
  readonly acceleration: () => Promise<Acceleration>;
}
