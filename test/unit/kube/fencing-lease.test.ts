import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";

import { leases, type Lease } from "../../../src/kube/builtin.ts";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import {
  createFencingLease,
  FENCED,
  fenceLease,
  fenceMissingLease,
  type FencingLease,
} from "../../../src/kube/fencing-lease.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";

const { signal } = new AbortController();
const key = { namespace: "vireo-system", name: "floating-node-1" };
let server: FakeKubeApiServer;
let client: KubeClient;

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  client = createKubeClient({ kubeConfig: server.kubeConfig() });
});

afterEach(async () => {
  await client.close();
  await server.stop();
});

const leaseOfNode = (): FencingLease => createFencingLease({ client, ...key, identity: "node-1" });

const stored = async (): Promise<Lease> => {
  const lease = await client.get(leases, key, { signal });
  if (lease === undefined) throw new Error("there is no Lease");
  return lease;
};

describe("a Lease that can be fenced", () => {
  it("is made when it is not there, and goes on in one term", async () => {
    const lease = leaseOfNode();
    const first = await lease.renew(signal);
    const second = await lease.renew(signal);
    expect(first.continued).toBe(false);
    expect(second).toEqual(first);
    expect((await stored()).spec.holderIdentity).toBe("node-1");
  });

  it("goes on in the same term when the process is started anew", async () => {
    const { term } = await leaseOfNode().renew(signal);
    expect(await leaseOfNode().renew(signal)).toEqual({ term, continued: true });
  });

  it("begins another term after a fence", async () => {
    const lease = leaseOfNode();
    const { term } = await lease.renew(signal);
    expect(await fenceLease(client, await stored(), { signal })).toBe(true);
    const after = await lease.renew(signal);
    expect(after.continued).toBe(false);
    expect(after.term).not.toBe(term);
  });

  it("begins another term for a new process after a fence", async () => {
    const { term } = await leaseOfNode().renew(signal);
    await fenceLease(client, await stored(), { signal });
    const after = await leaseOfNode().renew(signal);
    expect(after.continued).toBe(false);
    expect(after.term).not.toBe(term);
  });

  it("begins another term when somebody deleted it", async () => {
    const lease = leaseOfNode();
    const { term } = await lease.renew(signal);
    await client.delete(leases, key, { signal });
    const after = await lease.renew(signal);
    expect(after.continued).toBe(false);
    expect(after.term).not.toBe(term);
  });

  it("cannot be fenced by whoever has not seen the last renewal", async () => {
    const lease = leaseOfNode();
    await lease.renew(signal);
    const seen = await stored();
    const { term } = await lease.renew(signal);
    expect(await fenceLease(client, seen, { signal })).toBe(false);
    expect((await lease.renew(signal)).term).toBe(term);
  });

  it("can be fenced again as long as it was not taken back, and not after that", async () => {
    const lease = leaseOfNode();
    await lease.renew(signal);
    await fenceLease(client, await stored(), { signal });
    const fenced = await stored();
    expect(fenced.spec.holderIdentity).toBe(FENCED);
    expect(await fenceLease(client, fenced, { signal })).toBe(true);
    const stillFenced = await stored();
    await lease.renew(signal);
    expect(await fenceLease(client, stillFenced, { signal })).toBe(false);
  });

  it("goes on in the same term when the answer to a renewal was lost", async () => {
    const lease = leaseOfNode();
    const { term } = await lease.renew(signal);
    server.failNext("patch", { kind: "lose-answer" });
    await expect(lease.renew(signal)).rejects.toThrow("Lease vireo-system/floating-node-1");
    expect((await lease.renew(signal)).term).toBe(term);
  });

  it("was not a predecessor's when the answer to taking it back was lost", async () => {
    await leaseOfNode().renew(signal);
    await fenceLease(client, await stored(), { signal });
    const fresh = leaseOfNode();
    server.failNext("patch", { kind: "lose-answer" });
    await expect(fresh.renew(signal)).rejects.toThrow("Lease vireo-system/floating-node-1");
    expect((await fresh.renew(signal)).continued).toBe(false);
  });

  it("is fenced by making it when the node has none, unless the node was faster", async () => {
    expect(await fenceMissingLease(client, key, { signal })).toBe(true);
    const { continued } = await leaseOfNode().renew(signal);
    expect(continued).toBe(false);
    expect(await fenceMissingLease(client, key, { signal })).toBe(false);
  });

  it("is not fenced when it is gone", async () => {
    await leaseOfNode().renew(signal);
    const seen = await stored();
    await client.delete(leases, key, { signal });
    expect(await fenceLease(client, seen, { signal })).toBe(false);
  });
});
