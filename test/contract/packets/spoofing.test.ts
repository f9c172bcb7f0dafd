import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import { tunnelMacAddress } from "../../../src/api/network-identity.ts";
import type { GuardedCluster, GuardedGuest } from "../../fakes/guarded-cluster.ts";
import { GUEST_DEVICE } from "../../testbed/packet-guest.ts";
import { WORLD_ADDRESS } from "../../testbed/packet-network.ts";
import { baseline } from "./cluster.ts";
import { type Probe, startWorld, type World } from "./world.ts";

const named = new Set(["web-0", "db-0", "plain-0", "plain-1"]);
/** Nobody's, but plain-0 may send from it. */
const FURTHER = "10.0.0.200";

const cluster: GuardedCluster = {
  ...baseline,
  guests: baseline.guests.filter(({ name }) => named.has(name)),
};

const allowFurther = (guest: GuardedGuest): GuardedGuest =>
  guest.name === "plain-0" ? { ...guest, allowedAddresses: [FURTHER] } : guest;
const withFurther: GuardedCluster = { ...cluster, guests: cluster.guests.map(allowFurther) };

const udp = { protocol: "udp", port: 8080 } as const;
const toPlain: Probe = { from: "plain-0", to: "plain-1", attempt: udp };
const toWorld: Probe = { from: "plain-0", to: "outside", attempt: udp };
const toNeighbour: Probe = { from: "plain-0", to: "web-0", attempt: { protocol: "tcp", port: 80 } };

describe("a guest that pretends", () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld(cluster);
    await world.apply(cluster);
  });
  afterAll(() => world.stop());
  afterEach(() => world.apply(cluster));

  const guest = (name: string) => {
    const found = world.guests.get(name);
    if (found === undefined) throw new Error(`no guest ${name}`);
    return found;
  };
  const arrive = async (probes: readonly Probe[], expected: boolean): Promise<readonly boolean[]> => {
    const outcomes = await world.try(
      probes,
      probes.map(() => expected),
    );
    return outcomes.map(({ arrived }) => arrived);
  };
  const inGuest = (name: string, ...argv: readonly [string, ...string[]]): Promise<string> =>
    guest(name).namespace.run(argv);
  /** As the agent does before the filters learn of it: a way back to the addresses. */
  const giveLeave = async (allowedAddresses: string[]): Promise<void> => {
    const { node, vmUid, interface: link } = guest("plain-0");
    const { signal } = new AbortController();
    await node.links.ensure({ vmUid, interfaces: [{ ...link, allowedAddresses }] }, { signal });
  };
  /** Sends from another address, and says whether anybody hears it. */
  const from = async (source: string, probes: readonly Probe[], expected: boolean) => {
    await inGuest("plain-0", "ip", "address", "add", `${source}/32`, "dev", GUEST_DEVICE);
    try {
      return await arrive(
        probes.map((probe): Probe => Object.assign({ source }, probe)),
        expected,
      );
    } finally {
      await inGuest("plain-0", "ip", "address", "delete", `${source}/32`, "dev", GUEST_DEVICE);
    }
  };

  test("to be nobody is heard by everybody: the probes work", async () => {
    expect(await arrive([toPlain, toWorld, toNeighbour], true)).toEqual([true, true, true]);
  });

  test.each([
    ["that nobody has", "10.0.0.99"],
    ["of a neighbour on the same node", "10.0.0.21"],
    ["of a guest on another node", "10.0.0.32"],
    ["of the gateway", "10.0.0.1"],
    ["of another Network", "10.0.1.11"],
    ["of the world", "198.51.100.7"],
    ["of its node", "10.99.0.1"],
  ])("to have an address %s is not heard", async (_whose, source) => {
    expect(await from(source, [toPlain, toWorld, toNeighbour], false)).toEqual([false, false, false]);
  });

  test("may send from an address that it was given leave for, while it has it", async () => {
    expect(await from(FURTHER, [toPlain, toWorld, toNeighbour], false)).toEqual([false, false, false]);
    await giveLeave([FURTHER]);
    await world.apply(withFurther);
    expect(await from(FURTHER, [toPlain, toWorld, toNeighbour], true)).toEqual([true, true, true]);
    await giveLeave([]);
    await world.apply(cluster);
    expect(await from(FURTHER, [toPlain, toWorld, toNeighbour], false)).toEqual([false, false, false]);
  });

  test("to have another hardware address is not heard", async () => {
    const own = guest("plain-0").interface.macAddress;
    await inGuest("plain-0", "ip", "link", "set", GUEST_DEVICE, "address", "02:66:66:66:66:66");
    try {
      expect(await arrive([toPlain, toWorld, toNeighbour], false)).toEqual([false, false, false]);
    } finally {
      await inGuest("plain-0", "ip", "link", "set", GUEST_DEVICE, "address", own);
    }
    expect(await arrive([toPlain, toWorld, toNeighbour], true)).toEqual([true, true, true]);
  });

  test("in ARP to have another's address takes nothing from it", async () => {
    const node = guest("plain-0").node.namespace;
    const neighbours = (): Promise<string> => node.run(["ip", "neigh", "show", "nud", "permanent"]);
    const before = await neighbours();
    // As an announcement and as an answer, for a neighbour and for the gateway.
    const victims = ["10.0.0.21", "10.0.0.1"];
    for (const address of victims) {
      await inGuest("plain-0", "ip", "address", "add", `${address}/32`, "dev", GUEST_DEVICE);
    }
    const announce = (address: string, kind: "-U" | "-A"): Promise<string> =>
      inGuest("plain-0", "arping", kind, "-c", "1", "-w", "1", "-I", GUEST_DEVICE, address);
    await Promise.all(victims.flatMap((address) => [announce(address, "-U"), announce(address, "-A")]));
    for (const address of victims) {
      await inGuest("plain-0", "ip", "address", "delete", `${address}/32`, "dev", GUEST_DEVICE);
    }
    expect(await neighbours()).toBe(before);
    const toDatabase: Probe = { from: "web-0", to: "db-0", attempt: { protocol: "tcp", port: 5432 } };
    const toGateway: Probe = {
      from: "web-0",
      to: "node-1",
      attempt: { protocol: "echo" },
      address: "10.0.0.1",
    };
    expect(await arrive([toDatabase, toGateway], true)).toEqual([true, true]);
  });

  test("to be a DHCP server is not heard, not even where its group may send anything", async () => {
    const send = (sourcePort: number, token: string): Promise<string> =>
      inGuest(
        "plain-0",
        "sh",
        "-c",
        `echo '<${token}>' | socat -u STDIN UDP4-SENDTO:10.0.0.32:8080,sourceport=${sourcePort}`,
      );
    await send(67, "dhcp-offer");
    await send(68, "dhcp-control");
    expect(await arrive([toPlain], true)).toEqual([true]);
    expect(world.prober("plain-1").hasHeard("dhcp-control")).toBe(true);
    expect(world.prober("plain-1").hasHeard("dhcp-offer")).toBe(false);
  });

  test("to be a node: tunnels are taken from nodes only", async () => {
    const device = "forged";
    const outside = world.network.world;
    const ip = (...args: readonly string[]): Promise<string> => outside.run(["ip", ...args]);
    const tunnel = ["type", "vxlan", "id", "1", "dstport", "14789", "remote", "10.99.0.1"];
    await ip("link", "add", device, ...tunnel, "local", WORLD_ADDRESS, "dev", "eth0", "nolearning");
    await ip("address", "add", "10.0.0.32/32", "dev", device);
    await ip("link", "set", device, "up");
    const node = ["10.0.0.254", "lladdr", tunnelMacAddress("10.99.0.1")];
    await ip("neighbour", "add", ...node, "dev", device);
    await ip("route", "replace", "10.0.0.31", "via", "10.0.0.254", "dev", device, "onlink");
    const forged: Probe = { from: "outside", to: "plain-0", attempt: udp, source: "10.0.0.32" };
    try {
      expect(await arrive([forged], false)).toEqual([false]);
      // The same from a node is heard: it was refused for who sent it.
      await world.apply({ ...cluster, nodes: [...cluster.nodes, WORLD_ADDRESS] });
      const [outcome] = await world.try([forged], [false]);
      expect(outcome?.arrived).toBe(true);
    } finally {
      await ip("link", "delete", device);
    }
  });
});
