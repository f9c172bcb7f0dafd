import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import type { DesiredFilters, Filters } from "../../../src/node-agent/filters/index.ts";
import { openConversation } from "./conversation.ts";
import { backends, connect, openStage, ping, type Stage } from "./stage.ts";
import { desired, guests, startTopology, tcp, type Topology } from "./topology.ts";

const signal = new AbortController().signal;

/** With a remote group, blocks with an exception, and so a set of each kind. */
const rich: DesiredFilters = {
  ...desired,
  groups: [
    ...desired.groups,
    {
      uid: "db",
      ingress: [
        tcp(80, { kind: "group", uid: "web" }),
        tcp(80, { kind: "cidrs", cidrs: ["0.0.0.0/0"], except: ["192.0.2.0/24"] }),
      ],
      egress: [],
      logRefused: true,
    },
  ],
  guests: [guests.alpha, { ...guests.beta, securityGroups: ["web", "db"] }, guests.gamma],
  members: [{ groupUid: "web", vni: 5, addresses: ["10.0.0.11", "10.0.0.12"] }],
};
const reversed: DesiredFilters = {
  ...rich,
  guests: [...rich.guests, guests.alpha].toReversed(),
  networks: [...rich.networks].toReversed(),
  groups: [...rich.groups].toReversed(),
  members: [...rich.members, ...rich.members].toReversed(),
  nodeAddresses: [...rich.nodeAddresses].toReversed(),
};

const NOTHING = { changedChains: 0, repaired: 0, affectedGuests: [], revoked: 0, restored: 0 };

describe.each(backends)("the programming of filters, with iptables-%s", (backend) => {
  let topology: Topology;
  let stage: Stage;
  let filters: Filters;

  beforeAll(async () => {
    topology = await startTopology();
    stage = openStage(topology, backend);
  });
  afterAll(() => topology.stop());

  beforeEach(async () => {
    filters = stage.freshFilters();
    await filters.sync(rich, { signal });
    stage.takeRuns();
  });
  afterEach(() => filters.tearDown({ signal }));

  test("a second pass over the same, in any order, runs nothing at all", async () => {
    const before = await stage.contents();
    expect(await filters.sync(rich, { signal })).toEqual(NOTHING);
    expect(await filters.sync(reversed, { signal })).toEqual(NOTHING);
    expect(stage.takeRuns()).toEqual([]);
    expect(await stage.contents()).toBe(before);
  });

  test("a look at what is there changes nothing, nor does a fresh agent", async () => {
    const before = await stage.contents();
    expect(await filters.sync(rich, { signal, verify: true })).toEqual(NOTHING);
    const afresh = await stage.freshFilters().sync(reversed, { signal });
    expect(afresh).toMatchObject({ changedChains: 0, repaired: 0 });
    const programs = stage.takeRuns().map(({ program }) => program);
    expect(programs.filter((program) => /ipset|ip6?tables/.test(program)).toSorted()).toEqual([
      "ip6tables-save",
      "ip6tables-save",
      "ipset",
      "ipset",
      "iptables-save",
      "iptables-save",
    ]);
    expect(await stage.contents()).toBe(before);
  });

  test("a fresh agent takes all guests for affected, since its predecessor may have died before it cut them off", async () => {
    const { affectedGuests } = await stage.freshFilters().sync(rich, { signal });
    expect(affectedGuests).toEqual(rich.guests.map(({ vmUid }) => vmUid).toSorted());
  });

  test("a member more is one set, and no rule", async () => {
    const members = [{ groupUid: "web", vni: 5, addresses: ["10.0.0.11", "10.0.0.12", "10.0.0.77"] }];
    const outcome = await filters.sync({ ...rich, members }, { signal });
    expect(outcome).toMatchObject({ changedChains: 1, repaired: 0, affectedGuests: [guests.beta.vmUid] });
    const programs = stage.takeRuns().map(({ program }) => program);
    expect(programs.filter((program) => /ipset|ip6?tables/.test(program))).toEqual(["ipset"]);
    expect(await stage.contents()).toContain("10.0.0.77");
  });

  test("a guest that leaves costs the chains that name it, and no others", async () => {
    await filters.sync(
      { ...rich, guests: [rich.guests[0], rich.guests[1]].filter((guest) => guest !== undefined) },
      { signal },
    );
    const restore = stage.takeRuns().find(({ program }) => program === "iptables-restore");
    const touched = [...(restore?.stdin ?? "").matchAll(/^:(\S+) /gm)].map(([, chain = ""]) => chain);
    const { tap } = guests.gamma;
    expect(new Set(touched)).toEqual(
      new Set([
        // Its gateway, and its group in its Network, which nobody else here is in.
        "VIREO-NET-6",
        "VIREO-INPUT",
        ...touched.filter((chain) => /^VIREO-S[IE]-/.test(chain)),
        ...["SENDER", "EGRESS", "INGRESS", "HAIRPIN"].map((chain) => `VIREO-${chain}-1`),
        ...["S", "E", "I", "H"].map((letter) => `VIREO-${letter}-${tap}`),
      ]),
    );
    expect(touched.filter((chain) => /^VIREO-S[IE]-/.test(chain))).toHaveLength(2);
    expect(await stage.contents()).not.toContain(tap);
  });

  test("a group that is used no more leaves no chain and no set", async () => {
    const outcome = await filters.sync(desired, { signal });
    expect(outcome.affectedGuests).toEqual([guests.beta.vmUid]);
    const contents = await stage.contents();
    expect(contents).not.toContain("vireo-m-");
    expect(contents).not.toContain("vireo-n-");
    await filters.tearDown({ signal });
    await filters.sync(desired, { signal });
    expect(await stage.contents()).toBe(contents);
  });

  test.each<[string, number, readonly (readonly string[])[]]>([
    ["a chain is emptied", 1, [["iptables", "-F", "VIREO-FORWARD"]]],
    ["a rule is missing", 1, [["iptables", "-D", "VIREO-FORWARD", "2"]]],
    ["a rule is put in first", 1, [["iptables", "-I", "VIREO-FORWARD", "1", "-j", "ACCEPT"]]],
    ["a rule is appended", 1, [["iptables", "-A", "VIREO-INPUT", "-j", "ACCEPT"]]],
    ["a rule is replaced", 1, [["iptables", "-R", "VIREO-INPUT", "1", "-j", "ACCEPT"]]],
    ["the jump is missing", 1, [["iptables", "-D", "FORWARD", "1"]]],
    ["the jump of another table is missing", 1, [["iptables", "-t", "raw", "-D", "PREROUTING", "1"]]],
    [
      "a stranger's rule comes before the jump",
      1,
      [["iptables", "-I", "FORWARD", "1", "-p", "sctp", "-j", "ACCEPT"]],
    ],
    [
      "a chain of an older version is there",
      1,
      [
        ["iptables", "-N", "VIREO-OLD"],
        ["iptables", "-A", "VIREO-OLD", "-j", "ACCEPT"],
      ],
    ],
    ["a member is missing", 1, [["ipset", "flush", "vireo-nodes"]]],
    ["a set of an older version is there", 0, [["ipset", "create", "vireo-old", "hash:ip"]]],
    ["a killed agent left a set that it was filling", 0, [["ipset", "create", "vireo-next", "hash:ip"]]],
  ])("drift is repaired: %s", async (_what, repaired, damage) => {
    const before = await stage.contents();
    for (const [program = "", ...args] of damage) {
      if (program === "iptables") await stage.iptables(...args);
      else await topology.node.run([program, ...args]);
    }
    expect(await filters.sync(rich, { signal })).toEqual(NOTHING);
    expect(await filters.sync(rich, { signal, verify: true })).toMatchObject({ repaired });
    const after = await stage.contents();
    expect(after.replaceAll(/^-A FORWARD -p sctp -j ACCEPT\n/gm, "")).toBe(before);
    await stage.iptables("-D", "FORWARD", "-p", "sctp", "-j", "ACCEPT").catch(() => "it was not there");
  });

  test("everything that was lost is written again", async () => {
    const before = await stage.contents();
    for (const table of ["raw", "mangle", "nat", "filter"]) {
      await stage.iptables("-t", table, "-F");
      await stage.iptables("-t", table, "-X");
    }
    await topology.node.run(["ipset", "destroy"]);
    const { repaired } = await filters.sync(rich, { signal, verify: true });
    expect(repaired).toBeGreaterThan(30);
    expect(await stage.contents()).toBe(before);
  });

  test("rules and sets of somebody else stay as they are, and nothing of ours stays after the tear-down", async () => {
    await filters.tearDown({ signal });
    expect(await stage.contents()).toBe("");
    const foreign = [
      ["-N", "KUBE-FORWARD"],
      ["-A", "KUBE-FORWARD", "-m", "comment", "--comment", 'it\'s "quoted"', "-j", "ACCEPT"],
      ["-A", "FORWARD", "-j", "KUBE-FORWARD"],
      ["-A", "INPUT", "-s", "203.0.113.0/24", "-j", "DROP"],
      ["-t", "nat", "-A", "POSTROUTING", "-s", "203.0.113.0/24", "-j", "MASQUERADE"],
      ["-t", "mangle", "-A", "PREROUTING", "-s", "203.0.113.0/24", "-j", "MARK", "--set-mark", "1"],
    ];
    for (const args of foreign) await stage.iptables(...args);
    await topology.node.run(["ipset", "create", "KUBE-SET", "hash:ip"]);
    const before = await stage.contents();
    await filters.sync(rich, { signal });
    await filters.sync({ ...rich, guests: [] }, { signal });
    const isForeign = (line: string): boolean => !/VIREO-|vireo-/.test(line);
    expect((await stage.contents()).split("\n").filter(isForeign).join("\n")).toBe(before);
    await filters.tearDown({ signal });
    expect(await stage.contents()).toBe(before);
    await filters.tearDown({ signal });
    expect(await stage.contents()).toBe(before);
    for (const table of ["mangle", "nat", "filter"]) await stage.iptables("-t", table, "-F");
    await stage.iptables("-X");
    await topology.node.run(["ipset", "destroy", "KUBE-SET"]);
  });

  test("the jumps are the first rules, once, after any number of agents", async () => {
    for (let i = 0; i < 3; i += 1) await stage.freshFilters().sync(rich, { signal });
    for (const chain of ["FORWARD", "INPUT"]) {
      const rules = (await stage.iptables("-S", chain)).split("\n").filter((line) => line.startsWith("-A"));
      expect(rules).toHaveLength(1);
      expect(rules[0]).toMatch(new RegExp(`-j VIREO-${chain}$`));
    }
  });

  test("packets of others keep flowing while the rules change a hundred times", async () => {
    const { alpha, world } = topology;
    await using conversation = await openConversation(world, "10.0.0.11", 22);
    const pings = alpha.run(["ping", "-i", "0.01", "-c", "400", "-q", "10.0.0.12"]);
    for (let i = 0; i < 100; i += 1) {
      const addresses = ["10.0.0.12", `10.0.0.${100 + i}`];
      const members = [{ groupUid: "web", vni: 5, addresses }];
      const ofGamma = i % 2 === 0 ? ["db"] : ["web"];
      const changing = [
        ...rich.guests.filter(({ name }) => name !== "gamma"),
        { ...guests.gamma, securityGroups: ofGamma },
      ];
      await filters.sync({ ...rich, guests: changing, members }, { signal });
      expect(await conversation.say(`${i}`)).toBe(`${i}`);
      if (i % 10 === 0) expect(await world.succeeds(connect("10.0.0.12", 22))).toBe(true);
    }
    expect(await pings).toMatch(/400 packets transmitted, 400 received/);
    expect(await world.succeeds(ping("10.1.0.13"))).toBe(true);
  });

  test("what iptables refuses is told, and the next pass looks before it writes", async () => {
    await stage.iptables("-N", "STRANGER");
    await stage.iptables("-A", "STRANGER", "-j", `VIREO-I-${guests.gamma.tap}`);
    const without = { ...rich, guests: rich.guests.filter(({ name }) => name !== "gamma") };
    await expect(filters.sync(without, { signal })).rejects.toThrow(/iptables-(nft-)?restore.*line \d+/s);
    await stage.iptables("-F", "STRANGER");
    await stage.iptables("-X", "STRANGER");
    stage.takeRuns();
    const { affectedGuests } = await filters.sync(without, { signal });
    expect(stage.takeRuns().map(({ program }) => program)).toContain("iptables-save");
    expect(affectedGuests).toEqual(without.guests.map(({ vmUid }) => vmUid).toSorted());
  });
});
