import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { addressSlices } from "../../src/api/address-slice.ts";
import { SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { DEFAULT_GROUP, securityGroups } from "../../src/api/security-group.ts";
import { GUEST_FINALIZER, virtualMachines } from "../../src/api/virtual-machine.ts";
import { FENCED } from "../../src/kube/index.ts";
import { type ApiClient, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import {
  connectController,
  CONTROLLER,
  grantEverything,
  installSystem,
  keyPairSecret,
  revokeEverything,
  untilRefused,
} from "./support/system.ts";

/** Here the controller's account has every right that RBAC knows: what is refused is refused by the policies. */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
  await installSystem(cluster);
});

afterAll(() => cluster.stop());

describe("the controller, whatever rights it is given,", () => {
  let controller: ApiClient;

  const createSecret = (secret: JsonObject): Promise<Reply> =>
    controller.call({
      method: "POST",
      path: `/api/v1/namespaces/${cluster.namespace}/secrets?dryRun=All`,
      body: secret,
    });

  const patchMachine = (body: JsonObject): Promise<Reply> =>
    controller.call({
      method: "PATCH",
      path: cluster.pathOf(virtualMachines, "held"),
      contentType: MERGE_PATCH,
      body,
    });

  beforeAll(async () => {
    await grantEverything(cluster, CONTROLLER);
    controller = await connectController(cluster);
    await create(cluster, virtualMachines, validManifest(virtualMachines, "held"));
    await create(cluster, securityGroups, validManifest(securityGroups, "web"));
    await untilRefused("a Secret without owner", () =>
      createSecret(mergePatch(keyPairSecret("a"), { type: "Opaque" })),
    );
    await untilRefused("a machine's spec", () => patchMachine({ spec: { runStrategy: "Halted" } }));
  });

  afterAll(async () => {
    await controller.close();
    await revokeEverything(cluster, CONTROLLER);
    await cluster.administrator.call({
      method: "PATCH",
      path: cluster.pathOf(virtualMachines, "held"),
      contentType: MERGE_PATCH,
      body: { metadata: { finalizers: [] } },
    });
  });

  test("makes the Secret of a KeyPair", async () => {
    expect(refusalOf(await createSecret(keyPairSecret("mine")))).toBeUndefined();
  });

  test("holds a machine by its finalizer", async () => {
    const reply = await patchMachine({ metadata: { finalizers: [GUEST_FINALIZER] } });
    expect(virtualMachines.parse(reply.body).metadata.finalizers).toEqual([GUEST_FINALIZER]);
  });

  describe("when a node is silent,", () => {
    const leasePath = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM_NAMESPACE}/leases`;
    const patchLease = (spec: JsonObject): Promise<Reply> =>
      controller.call({
        method: "PATCH",
        path: `${leasePath}/silent`,
        contentType: MERGE_PATCH,
        body: { spec },
      });

    beforeAll(async () => {
      await cluster.administrator.call({
        method: "POST",
        path: leasePath,
        body: {
          apiVersion: "coordination.k8s.io/v1",
          kind: "Lease",
          metadata: { name: "silent" },
          spec: { holderIdentity: "silent", renewTime: "2026-01-01T00:00:00.000000Z" },
        },
      });
      await untilRefused("a renewal by the controller", () => patchLease({ holderIdentity: "silent" }));
    });

    afterAll(() => cluster.administrator.call({ method: "DELETE", path: `${leasePath}/silent` }));

    test.each<[string, JsonObject]>([
      ["may not renew its heartbeat", { renewTime: "2026-01-01T00:00:10.000000Z" }],
      [
        "may not renew it while it takes it",
        { holderIdentity: FENCED, renewTime: "2026-01-01T00:00:10.000000Z" },
      ],
      ["may not take it for anybody else", { holderIdentity: "other" }],
    ])("it %s", async (_, spec) => {
      expect(refusalOf(await patchLease(spec))?.message).toContain("without renewing them");
    });

    test("it may take its heartbeat", async () => {
      expect(refusalOf(await patchLease({ holderIdentity: FENCED }))).toBeUndefined();
    });
  });

  const createGroup = (name: string): Promise<Reply> =>
    controller.call({
      method: "POST",
      path: `${cluster.pathOf(securityGroups)}?dryRun=All`,
      body: validManifest(securityGroups, name),
    });

  test("makes the group default", async () => {
    expect(refusalOf(await createGroup(DEFAULT_GROUP))).toBeUndefined();
  });

  test("makes, changes and deletes the lists of addresses", async () => {
    const name = `${cluster.namespace}-slice`;
    const path = cluster.pathOf(addressSlices, name);
    const replies = [
      await controller.call({
        method: "POST",
        path: cluster.pathOf(addressSlices),
        body: validManifest(addressSlices, name),
      }),
      await controller.call({
        method: "PATCH",
        path,
        contentType: MERGE_PATCH,
        body: { spec: { machines: [] } },
      }),
      await controller.call({ method: "DELETE", path }),
    ];
    expect(replies.map(refusalOf)).toEqual([undefined, undefined, undefined]);
  });

  const refusals: readonly (readonly [string, () => Promise<Reply>, string])[] = [
    ["makes no group of another name", () => createGroup("defaults"), "nor whether it exists"],
    [
      "changes no rule of a group",
      () =>
        controller.call({
          method: "PATCH",
          path: cluster.pathOf(securityGroups, "web"),
          contentType: MERGE_PATCH,
          body: { spec: { ingress: [] } },
        }),
      "neither the spec",
    ],
    [
      "deletes no group",
      () => controller.call({ method: "DELETE", path: cluster.pathOf(securityGroups, "web") }),
      "nor whether it exists",
    ],
    [
      "makes no Secret of another type",
      () => createSecret(mergePatch(keyPairSecret("a"), { type: "bootstrap.kubernetes.io/token" })),
      "of type kubernetes.io/ssh-auth only",
    ],
    [
      "makes no Secret that no KeyPair owns",
      () => createSecret(mergePatch(keyPairSecret("a"), { metadata: { ownerReferences: null } })),
      "owned by a KeyPair only",
    ],
    [
      "deletes no Secret",
      () =>
        controller.call({
          method: "DELETE",
          path: `/api/v1/namespaces/${cluster.namespace}/secrets/stored?dryRun=All`,
        }),
      "not change or delete",
    ],
    ["changes no spec", () => patchMachine({ spec: { runStrategy: "Halted" } }), "neither the spec"],
    [
      "makes no object",
      () =>
        controller.call({
          method: "POST",
          path: cluster.pathOf(keyPairs),
          body: validManifest(keyPairs, "k"),
        }),
      "nor whether it exists",
    ],
    [
      "deletes no object",
      () => controller.call({ method: "DELETE", path: cluster.pathOf(virtualMachines, "held") }),
      "nor whether it exists",
    ],
  ];

  test.each(refusals)("%s", async (_sentence, attempt, why) => {
    await cluster.administrator.call({
      method: "POST",
      path: `/api/v1/namespaces/${cluster.namespace}/secrets`,
      body: mergePatch(keyPairSecret("stored"), { metadata: { ownerReferences: null } }),
    });
    expect(refusalOf(await attempt())?.message).toContain(why);
  });
});
