import { describe, expect, test } from "@jest/globals";
import { desiredRoutes } from "../../../../../src/node-agent/reconcilers/network/desired-routes.ts";
import { entry, factsWith, machine, network, nodes, slice } from "./cluster.ts";

const blue = network("blue", 1, { cidr: "10.0.0.0/24" });
const hidden = network("hidden", 2, { cidr: "10.0.0.0/24", reachableFromNodes: false });
const blueSlice = slice({ network: "blue", machines: [entry("far", "10.0.0.9")] });

const numbersOf = (facts: Parameters<typeof factsWith>[0]): number[] =>
  (desiredRoutes(factsWith(facts))?.networks ?? []).map(({ vni }) => vni).toSorted((a, b) => a - b);

describe("the routes of a node", () => {
  test("lead to machines of other nodes through these nodes", () => {
    const facts = factsWith({ networks: [blue], slices: [blueSlice, nodes] });
    expect(desiredRoutes(facts)).toEqual({
      tunnelAddress: "192.0.2.1",
      vxlanPort: 14_789,
      nodes: ["192.0.2.2"],
      networks: [
        {
          vni: 1,
          cidr: "10.0.0.0/24",
          mtu: 1450,
          reachableFromNodes: true,
          peers: [],
          remote: [{ address: "10.0.0.9", nodeAddress: "192.0.2.2" }],
        },
      ],
    });
  });

  test("do not lead to its own machines, whatever a slice still says of where they are", () => {
    const own = machine("far", { network: "blue", vni: 1, address: "10.0.0.9" });
    const routes = desiredRoutes(factsWith({ machines: [own], networks: [blue], slices: [blueSlice] }));
    expect(routes?.networks.map(({ remote }) => remote)).toEqual([[]]);
  });

  test("do not lead to a machine that a slice says is here, and that is not", () => {
    const stale = slice({ network: "blue", machines: [entry("gone", "10.0.0.8", { nodeName: "node-1" })] });
    const routes = desiredRoutes(factsWith({ networks: [blue], slices: [stale] }));
    expect(routes?.networks.map(({ remote }) => remote)).toEqual([]);
  });

  const guest = machine("near", { network: "hidden", vni: 2, address: "10.0.0.2" });
  test.each([
    {
      name: "a Network that nodes may reach is not known while nobody is in it",
      facts: { networks: [blue] },
      known: [],
    },
    {
      name: "a Network that nodes may reach is known without a guest here",
      facts: { networks: [blue], slices: [blueSlice] },
      known: [1],
    },
    { name: "one that they may not is not", facts: { networks: [hidden] }, known: [] },
    {
      name: "unless a guest here is in it",
      facts: { networks: [hidden], machines: [guest] },
      known: [2],
    },
    { name: "a guest's Network is known after its object is gone", facts: { machines: [guest] }, known: [2] },
    {
      name: "a Network without a number yet is not known",
      facts: { networks: [network("new", undefined, { cidr: "10.1.0.0/24" })] },
      known: [],
    },
    {
      name: "a Network that one of these routes to is known too",
      facts: {
        machines: [machine("near", { network: "left", vni: 3, address: "10.3.0.2" })],
        networks: [
          network("left", 3, { cidr: "10.3.0.0/24", reachableFromNodes: false, routesTo: ["right"] }),
          network("right", 4, { cidr: "10.4.0.0/24", reachableFromNodes: false, routesTo: ["left"] }),
        ],
      },
      known: [3, 4],
    },
    {
      name: "one that does not route back is not",
      facts: {
        machines: [machine("near", { network: "left", vni: 3, address: "10.3.0.2" })],
        networks: [
          network("left", 3, { cidr: "10.3.0.0/24", reachableFromNodes: false, routesTo: ["right"] }),
          network("right", 4, { cidr: "10.4.0.0/24", reachableFromNodes: false }),
        ],
      },
      known: [3],
    },
  ])("$name", ({ facts, known }) => {
    expect(numbersOf(facts)).toEqual(known);
  });

  test("are left as they are while the node has no address", () => {
    expect(desiredRoutes(factsWith({ networks: [blue], tunnelAddress: undefined }))).toBeUndefined();
  });
});
