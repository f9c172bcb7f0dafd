import type { FloatingIp } from "../../../../../src/api/floating-ip.ts";
import { ApiError, type Lease } from "../../../../../src/kube/index.ts";

export const ADDRESS = "192.0.2.101";
const NAME = "www";

/** The state that all agree on, with optimistic locking. */
export class ApiState {
  #version = 1;
  #term = 0;
  readonly leases = new Map<string, Lease>();
  floatingIp: FloatingIp;
  readonly #listeners: ((what: FloatingIp | Lease) => void)[] = [];

  constructor() {
    this.floatingIp = {
      apiVersion: "vireo.dev/v1alpha1",
      kind: "FloatingIP",
      metadata: { name: NAME, namespace: "shop", uid: "uid-www", resourceVersion: "1", generation: 1 },
      spec: { pool: "public", failback: "Never" },
      status: { address: ADDRESS },
    } as unknown as FloatingIp;
  }

  onChange(listener: (what: FloatingIp | Lease) => void): void {
    this.#listeners.push(listener);
  }

  setStatus(change: Readonly<Record<string, unknown>>, resourceVersion?: string): FloatingIp {
    this.#check(this.floatingIp.metadata.resourceVersion, resourceVersion);
    const { status, metadata } = this.floatingIp;
    const next = Object.fromEntries(
      Object.entries({ ...status, ...change }).filter(([, value]) => value !== undefined),
    );
    if (JSON.stringify(next) === JSON.stringify(status)) return this.floatingIp;
    this.floatingIp = {
      ...this.floatingIp,
      metadata: { ...metadata, resourceVersion: this.#next() },
      status: next,
    };
    return this.#tell(this.floatingIp);
  }

  createLease(name: string, spec: Lease["spec"]): Lease {
    if (this.leases.has(name)) throw new ApiError("create Lease", 409, { reason: "AlreadyExists" });
    this.#term += 1;
    const metadata = { name, namespace: "vireo-system", uid: `lease-${this.#term}`, generation: 1 };
    return this.#storeLease(name, { metadata, spec } as unknown as Lease);
  }

  patchLease(name: string, spec: Lease["spec"], resourceVersion: string | undefined): Lease {
    const lease = this.leases.get(name);
    if (lease === undefined) throw new ApiError("patch Lease", 404, { reason: "NotFound" });
    this.#check(lease.metadata.resourceVersion, resourceVersion);
    return this.#storeLease(name, { ...lease, spec: { ...lease.spec, ...spec } });
  }

  #storeLease(name: string, lease: Lease): Lease {
    const stored = { ...lease, metadata: { ...lease.metadata, resourceVersion: this.#next() } };
    this.leases.set(name, stored);
    return this.#tell(stored);
  }

  #next(): string {
    this.#version += 1;
    return String(this.#version);
  }

  #check(stored: string, given: string | undefined): void {
    if (given !== undefined && given !== stored) throw new ApiError("write", 409, { reason: "Conflict" });
  }

  #tell<T extends FloatingIp | Lease>(what: T): T {
    for (const listener of this.#listeners) listener(what);
    return what;
  }
}
