import { describe, expect, test } from "@jest/globals";

import { discovery, wantsOtherForm } from "../../../src/api-server/discovery.ts";
import { ApiProblem } from "../../../src/api-server/problem.ts";
import { agentPathOf, type Asked, readSubresource } from "../../../src/api-server/request.ts";
import { checkSeedReader } from "../../../src/api-server/seed.ts";
import { readTarget } from "../../../src/api-server/target.ts";
import { type Subresource, subresourcePath, subresources } from "../../../src/api/subresources.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";

const WEB = { namespace: "shop", name: "web" };
const problemOf = (act: () => unknown): string => {
  try {
    act();
    return "none";
  } catch (error) {
    if (!(error instanceof ApiProblem)) throw error;
    return `${error.code} ${error.message}`;
  }
};

describe("a path", () => {
  test.each(Object.keys(subresources) as Subresource[])("leads to %s", (subresource) => {
    expect(readTarget(subresourcePath(WEB, subresource))).toEqual({ ...WEB, subresource });
  });

  test.each([
    ["/"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/virtualmachines/web"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/virtualmachines/web/exec"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/virtualmachines/web/constructor"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/virtualmachines/web/console/more"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/pods/web/console"],
    ["/apis/subresources.vireo.dev/v1/namespaces/shop/virtualmachines/web/console"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/Shop/virtualmachines/web/console"],
    ["/apis/subresources.vireo.dev/v1alpha1/namespaces/shop/virtualmachines/..%2f/console"],
  ])("%s leads nowhere", (pathname) => {
    expect(problemOf(() => readTarget(pathname))).toMatch(/^404 /);
  });
});

const asked = (method: string, path: string): Asked => ({
  user: { name: "ann", groups: [], extra: {} },
  method,
  url: new URL(path, "https://api-server"),
});

describe("a subresource is asked for in its own way", () => {
  test.each([
    ["GET", "console", true, "none"],
    ["GET", "console", false, "400 console is a stream: ask for a WebSocket"],
    ["POST", "console", true, "405 console is asked for by GET, not by POST"],
    ["GET", "log", false, "none"],
    ["GET", "log", true, "400 log is no stream: ask without Upgrade"],
    ["POST", "restart", false, "none"],
    ["GET", "restart", false, "405 restart is asked for by POST, not by GET"],
    ["PUT", "pause", false, "405 pause is asked for by POST, not by PUT"],
  ] as const)("%s %s, as a WebSocket: %s", (method, subresource, isWebSocket, answer) => {
    const request = asked(method, subresourcePath(WEB, subresource));
    expect(problemOf(() => readSubresource(request, isWebSocket))).toBe(answer);
  });
});

describe("at the agent it is", () => {
  test.each([
    ["console", "", "/v1/guests/u-1/console"],
    ["screenshot", "?x=1", "/v1/guests/u-1/screenshot"],
    ["portforward", "?port=22", "/v1/guests/u-1/tcp/22"],
    ["portforward", "?port=65535", "/v1/guests/u-1/tcp/65535"],
  ] as const)("%s%s: %s", (subresource, query, path) => {
    const request = asked("GET", `/${query}`);
    expect(agentPathOf("u-1", { ...WEB, subresource }, request)).toBe(path);
  });

  test.each([
    [""],
    ["?port="],
    ["?port=0"],
    ["?port=65536"],
    ["?port=22/../x"],
    ["?port=0x16"],
    ["?port=-1"],
  ])("nothing for portforward%s", (query) => {
    const request = asked("GET", `/${query}`);
    expect(problemOf(() => agentPathOf("u-1", { ...WEB, subresource: "portforward" }, request))).toMatch(
      /^400 /,
    );
  });
});

describe("discovery", () => {
  test("names each subresource with the verbs that RBAC is asked about", () => {
    const { resources } = discovery["/apis/subresources.vireo.dev/v1alpha1"] as {
      readonly resources: readonly { readonly name: string; readonly verbs: readonly string[] }[];
    };
    const verbs = Object.fromEntries(resources.map((resource) => [resource.name, resource.verbs]));
    expect(verbs).toMatchObject({
      "virtualmachines/console": ["get"],
      "virtualmachines/log": ["get"],
      "virtualmachines/restart": ["create"],
    });
  });

  test.each([
    [undefined, false],
    ["application/json", false],
    ["application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", true],
    [
      "application/json;v=v2;as=APIGroupDiscoveryList,application/json;v=v2beta1;as=APIGroupDiscoveryList",
      true,
    ],
    ["application/json;v=v2;as=APIGroupDiscoveryList,application/json", false],
  ])("asked for as %s: would nothing else do? %s", (accept, answer) => {
    expect(wantsOtherForm(accept)).toBe(answer);
  });
});

describe("a seed is read by", () => {
  const machine = { metadata: { name: "web" } } as VirtualMachine;
  const machines = {
    belongsTo: (_machine: VirtualMachine, node: string) => Promise.resolve(node === "node-1"),
  };
  const AGENT = "system:serviceaccount:vireo-system:vireo-node-agent";
  const CLAIM = "authentication.kubernetes.io/node-name";
  const { signal } = new AbortController();

  test.each([
    ["the agent of its node", AGENT, { [CLAIM]: ["node-1"] }, "allowed"],
    ["the agent of another node", AGENT, { [CLAIM]: ["node-2"] }, 'the agent of node "node-2" may not'],
    ["an agent of no node", AGENT, {}, "may not read its seed"],
    ["an agent of two nodes", AGENT, { [CLAIM]: ["node-1", "node-2"] }, "may not read its seed"],
    ["somebody with the node's claim", "ann", { [CLAIM]: ["node-1"] }, '"ann" may not read its seed'],
  ])("%s: %j %j %s", async (_who, name, extra, answer) => {
    const user = { name, groups: ["system:masters"], extra };
    const checked = checkSeedReader(machines, machine, user, signal).then(
      () => "allowed",
      (error: unknown) => (error instanceof ApiProblem ? `${error.code} ${error.message}` : error),
    );
    expect(await checked).toContain(answer);
  });
});
