import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";

import { createFloating, type Floating } from "../../../src/node-agent/floating/index.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import { waitFor } from "../../testbed/wait.ts";
import { leadingTo, startTopology, type Topology } from "./topology.ts";

/** The room on real devices, with real packets. */

const WWW = "192.0.2.101";
const OTHER = "192.0.2.102";
const THIRD = "192.0.2.103";
const { signal } = new AbortController();
/** Longer than any test. */
const LONG = { validForSeconds: 600, signal };

const warnings: string[] = [];
const logger = { warn: (_: unknown, message: string) => void warnings.push(message) };
let topology: Topology;
let one: Floating;
let two: Floating;

const roomOf = (node: NetworkNamespace): Floating => createFloating({ run: node.runCommand, logger });

/** Everything on a node that the room could leave behind. */
const stateOf = async (node: NetworkNamespace): Promise<string> => {
  const tables = await node.run(["iptables-save"]);
  const rules = tables.split("\n").filter((line) => line.startsWith("-A"));
  const sets = await node.run(["ipset", "list", "-name"]);
  const addresses = await node.run(["ip", "-4", "-brief", "address"]);
  return [...rules, sets, addresses].join("\n");
};

let pristine: string;

beforeAll(async () => {
  topology = await startTopology();
  pristine = await stateOf(topology.one);
  one = roomOf(topology.one);
  two = roomOf(topology.two);
}, 120_000);

afterAll(async () => topology.stop());

afterEach(async () => {
  await topology.client.run(["ip", "neighbour", "flush", "dev", "eth0", "nud", "all"]).catch(() => "");
  await one.tearDown({ signal });
  await two.tearDown({ signal });
  const said = warnings.splice(0);
  if (said.length > 0) throw new Error(`the room warned: ${said.join("; ")}`);
});

/** What answers over TCP; undefined when nothing does. */
const ask = (from: NetworkNamespace, address: string): Promise<string | undefined> =>
  from.run(["socat", "-T", "3", "-u", `TCP4:${address}:80,connect-timeout=2`, "-"]).then(
    (text) => text.trim(),
    () => undefined,
  );

/** What answers over UDP, always in the same connection; empty when nothing does within half a second. */
const askOnce = async (from: NetworkNamespace, address: string): Promise<string> => {
  const asking = `echo hello | socat -T 1 - UDP4:${address}:7,sourceport=4000,reuseaddr`;
  return (await from.run(["sh", "-c", asking])).trim();
};

/** Where an answer must come, a busy machine may need longer for it than socat waits. */
const askAgain = (from: NetworkNamespace, address: string): Promise<string> =>
  waitFor(`an answer of ${address}`, async () => {
    const answer = await askOnce(from, address);
    return answer !== "" && answer;
  });

const answersArp = (address: string): Promise<boolean> =>
  topology.client.succeeds(["arping", "-q", "-f", "-c", "2", "-w", "2", "-I", "eth0", address]);

const macOf = async (node: NetworkNamespace): Promise<string> =>
  /link\/ether (\S+)/.exec(await node.run(["ip", "link", "show", "dev", "eth0"]))?.[1] ?? "none";

const neighbour = async (address: string): Promise<string | undefined> =>
  / lladdr (\S+)/.exec(await topology.client.run(["ip", "neighbour", "show", address]))?.[1];

/** As a client that has not heard that the address went away. */
const pin = async (address: string, node: NetworkNamespace): Promise<void> => {
  const entry = ["lladdr", await macOf(node), "dev", "eth0", "nud", "permanent"];
  await topology.client.run(["ip", "neighbour", "replace", address, ...entry]);
};

const isGone = (room: Floating, address: string) => async (): Promise<boolean> =>
  !(await room.held({ signal })).includes(address);

describe("a floating address that is held", () => {
  it("is reached from outside, and the guest sees who asks", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await ask(topology.client, WWW)).toBe("alpha sees 192.0.2.9");
    expect(await one.held({ signal })).toEqual([WWW]);
  });

  it("leads to its own guest when two have the same address in different Networks", async () => {
    await one.translate([leadingTo("alpha", WWW), leadingTo("beta", OTHER)], { signal });
    await one.hold([WWW, OTHER], LONG);
    expect(await ask(topology.client, WWW)).toBe("alpha sees 192.0.2.9");
    expect(await ask(topology.client, OTHER)).toBe("beta sees 192.0.2.9");
  });

  it("is what the outside sees of its guest, and of no other", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await ask(topology.guests.alpha, "192.0.2.9")).toBe(`client sees ${WWW}`);
    expect(await ask(topology.guests.beta, "192.0.2.9")).toBe("client sees 192.0.2.1");
  });

  it("is reached by its guest, its neighbour, a guest of another node and the node, as from outside", async () => {
    await one.translate([leadingTo("alpha", WWW), leadingTo("beta", OTHER)], { signal });
    await two.translate([leadingTo("gamma", THIRD)], { signal });
    await one.hold([WWW, OTHER], LONG);
    await two.hold([THIRD], LONG);
    const { alpha, beta, gamma } = topology.guests;
    expect(await ask(alpha, WWW)).toBe("alpha sees 192.0.2.1");
    expect(await ask(alpha, OTHER)).toBe("beta sees 192.0.2.1");
    expect(await ask(beta, WWW)).toBe("alpha sees 192.0.2.1");
    expect(await ask(gamma, WWW)).toBe(`alpha sees ${THIRD}`);
    expect(await ask(alpha, THIRD)).toBe(`gamma sees ${WWW}`);
    expect(await ask(topology.one, WWW)).toBe("alpha sees 192.0.2.1");
    expect(await ask(topology.two, WWW)).toBe("alpha sees 192.0.2.2");
  });

  it("leads to another guest at once, also for connections that exist", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await askAgain(topology.client, WWW)).toBe("alpha");
    await one.translate([leadingTo("beta", WWW)], { signal });
    expect(await askAgain(topology.client, WWW)).toBe("beta");
  });

  it("is found, and let be, by an agent that was started anew", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await askAgain(topology.client, WWW)).toBe("alpha");
    const before = await topology.one.run(["conntrack", "-L", "-d", WWW, "-p", "udp"]);
    const fresh = roomOf(topology.one);
    expect(await fresh.held({ signal })).toEqual([WWW]);
    await fresh.hold([WWW], LONG);
    await fresh.translate([leadingTo("alpha", WWW)], { signal });
    const connection = /sport=4000 dport=7 .*/;
    const after = await topology.one.run(["conntrack", "-L", "-d", WWW, "-p", "udp"]);
    expect(connection.exec(after)?.[0]).toBe(connection.exec(before)?.[0]);
  });
});

describe("a floating address that is not held", () => {
  it("passes nothing when it is only translated, and leaves its guest as it was", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    expect(await answersArp(WWW)).toBe(false);
    await pin(WWW, topology.one);
    expect(await ask(topology.client, WWW)).toBeUndefined();
    expect(await ask(topology.guests.alpha, "192.0.2.9")).toBe("client sees 192.0.2.1");
  });

  it("has gone by itself when nobody refreshed it, and passes nothing, not even in a connection", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], { validForSeconds: 2, signal });
    await pin(WWW, topology.one);
    expect(await askAgain(topology.client, WWW)).toBe("alpha");
    await waitFor("the address to expire", isGone(one, WWW), { intervalMs: 50 });
    expect(await topology.one.run(["conntrack", "-L", "-d", WWW, "-p", "udp"])).toContain("sport=4000");
    expect(await askOnce(topology.client, WWW)).toBe("");
    expect(await ask(topology.client, WWW)).toBeUndefined();
    expect(await answersArp(WWW)).toBe(false);
  });

  it("is no longer the source of what its guest sends in connections that it had", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await askAgain(topology.guests.alpha, "192.0.2.9")).toBe("client");
    await one.withdraw([WWW], { signal });
    expect(await askOnce(topology.guests.alpha, "192.0.2.9")).toBe("");
    // After the translation is gone, its connections are: the guest is heard again, as the node.
    await one.translate([], { signal });
    expect(await askAgain(topology.guests.alpha, "192.0.2.9")).toBe("client");
  });

  it("is withdrawn at once, and withdrawing it again is no failure", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await answersArp(WWW)).toBe(true);
    await one.withdraw([WWW], { signal });
    expect(await answersArp(WWW)).toBe(false);
    await one.withdraw([WWW, OTHER], { signal });
    expect(await one.held({ signal })).toEqual([]);
  });
});

describe("a floating address that moves to another node", () => {
  it("takes the client's neighbour entry with it by its announcement", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await two.translate([leadingTo("gamma", WWW)], { signal });
    await one.hold([WWW], LONG);
    expect(await ask(topology.client, WWW)).toBe("alpha sees 192.0.2.9");
    expect(await neighbour(WWW)).toBe(await macOf(topology.one));
    await one.withdraw([WWW], { signal });
    await two.hold([WWW], LONG);
    const target = await macOf(topology.two);
    await waitFor("the neighbour entry to move", async () => (await neighbour(WWW)) === target, {
      intervalMs: 20,
    });
    expect(await ask(topology.client, WWW)).toBe("gamma sees 192.0.2.9");
  });
});

describe("the room's manners", () => {
  it("refuses an address that somebody else put on the node, and holds the others", async () => {
    await topology.one.run(["ip", "address", "add", `${OTHER}/32`, "dev", "eth0"]);
    try {
      await expect(one.hold([WWW, OTHER], LONG)).rejects.toThrow(`${OTHER} cannot be held: it is on eth0`);
      expect(await one.held({ signal })).toEqual([WWW]);
    } finally {
      await topology.one.run(["ip", "address", "delete", `${OTHER}/32`, "dev", "eth0"]);
    }
  });

  it("refuses to take the translation from an address that is held, as the node would answer", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    await expect(one.translate([], { signal })).rejects.toThrow(`${WWW} is still held`);
    expect(await ask(topology.client, WWW)).toBe("alpha sees 192.0.2.9");
  });

  it("leaves nothing behind", async () => {
    await one.translate([leadingTo("alpha", WWW), leadingTo("beta", OTHER)], { signal });
    await one.hold([WWW], LONG);
    expect(await stateOf(topology.one)).not.toBe(pristine);
    await one.tearDown({ signal });
    expect(await stateOf(topology.one)).toBe(pristine);
  });

  it("leaves nothing behind when the last address is gone", async () => {
    await one.translate([leadingTo("alpha", WWW)], { signal });
    await one.hold([WWW], LONG);
    await one.withdraw([WWW], { signal });
    await one.translate([], { signal });
    expect(await stateOf(topology.one)).toBe(pristine);
  });
});
