import { describe, expect, test } from "@jest/globals";
import { hypervisors } from "../../../../../src/api/hypervisor.ts";
import { createEnforcedGroups } from "../../../../../src/node-agent/reconcilers/network/enforced-groups.ts";
import { chooseTunnelAddress } from "../../../../../src/node-agent/reconcilers/network/tunnel-address.ts";
import { group } from "./cluster.ts";

describe("the address that other nodes send guests' packets to", () => {
  const interfaces = [
    { name: "docker0", addresses: ["172.17.0.1"] },
    { name: "eth0", addresses: ["192.0.2.1", "192.0.2.9"] },
  ];
  test.each([
    {
      name: "is the one that was configured",
      configured: "203.0.113.5",
      route: { dev: "eth0" },
      chosen: "203.0.113.5",
    },
    {
      name: "is the one that the default route names",
      route: { dev: "eth0", prefsrc: "192.0.2.9" },
      chosen: "192.0.2.9",
    },
    { name: "is the first of the default route's interface", route: { dev: "eth0" }, chosen: "192.0.2.1" },
    { name: "is any, without a default route", route: {}, chosen: "172.17.0.1" },
  ])("$name", ({ configured, route, chosen }) => {
    expect(chooseTunnelAddress(configured, route, interfaces)).toBe(chosen);
  });

  test("is not there on a node without addresses", () => {
    expect(chooseTunnelAddress(undefined, {}, [])).toBeUndefined();
  });
});

describe("the groups that are in force", () => {
  const at = (second: number): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, second));

  test("are dated when a version of them is programmed for the first time", () => {
    let now = at(1);
    let told = 0;
    const enforced = createEnforcedGroups(
      () => undefined,
      () => now,
    );
    enforced.onChange(() => (told += 1));
    const web = group("web");
    enforced.record([web]);
    now = at(2);
    enforced.record([web]);
    expect(enforced.list()).toMatchObject([
      { name: "web", generation: 1, programmedAt: "2026-01-01T00:00:01Z" },
    ]);
    now = at(3);
    enforced.record([{ ...web, metadata: { ...web.metadata, generation: 2 } }]);
    expect(enforced.list()).toMatchObject([{ generation: 2, programmedAt: "2026-01-01T00:00:03Z" }]);
    enforced.record([]);
    expect({ list: enforced.list(), told }).toEqual({ list: [], told: 3 });
  });

  test("keep the date that an agent before this one has reported", () => {
    const web = group("web");
    const { uid, name, namespace = "" } = web.metadata;
    const reported = { uid, name, namespace, generation: 1, programmedAt: "2025-12-31T00:00:00Z" };
    const node = hypervisors.parse({
      apiVersion: "vireo.dev/v1alpha1",
      kind: "Hypervisor",
      metadata: { name: "n", uid, resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z" },
      spec: {},
      status: { securityGroups: [reported] },
    });
    const enforced = createEnforcedGroups(
      () => node,
      () => at(9),
    );
    enforced.record([web]);
    expect(enforced.list()).toEqual([reported]);
  });
});
