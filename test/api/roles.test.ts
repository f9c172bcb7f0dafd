import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
import { addressSlices } from "../../src/api/address-slice.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { DEFAULT_GROUP, securityGroups } from "../../src/api/security-group.ts";
import { GUEST_FINALIZER, virtualMachines } from "../../src/api/virtual-machine.ts";
import { type ApiClient, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import {
  connectController,
  CONTROLLER,
  grantEverything,
  installSystem,
  keyPairSecret,
  NODE_AGENT,
  revokeEverything,
  untilRefused,
} from "./support/system.ts";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
  await installSystem(cluster);
});

afterAll(() => cluster.stop());

const accountOf = (name: string): string => `system:serviceaccount:${SYSTEM_NAMESPACE}:${name}`;

const reviewSchema = z.object({ status: z.object({ allowed: z.boolean() }) });

/** Default: any name, in all namespaces. */
interface Where {
  readonly namespace?: string;
  readonly name?: string;
}

interface Question {
  readonly verb: string;
  /** "group/resource" or "group/resource/subresource"; "/secrets" for the core group. */
  readonly resource: string;
  readonly where: Where;
}

/** Asks the API server whether somebody may do something. */
const may = async (user: string, question: Question): Promise<boolean> => {
  const [group = "", resource = "", subresource = ""] = question.resource.split("/");
  const {
    verb,
    where: { namespace = "", name = "" },
  } = question;
  const { body } = await cluster.administrator.call({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    body: {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      spec: {
        user,
        groups: ["system:authenticated"],
        resourceAttributes: { group, resource, subresource, verb, namespace, name },
      },
    },
  });
  return reviewSchema.parse(body).status.allowed;
};

/** Verbs, resources, where. */
type Line = readonly [string, string, Where?];
const vireo = (...resources: readonly string[]): readonly string[] =>
  resources.map((name) => `vireo.dev/${name}`);
const questionsOf = (lines: readonly Line[]): readonly Question[] =>
  lines.flatMap(([verbs, resources, where = {}]) =>
    verbs.split(" ").flatMap((verb) => resources.split(" ").map((resource) => ({ verb, resource, where }))),
  );

/** The disks' kinds: a node says what has become of them. */
const diskKinds = ["volumes", "virtualmachinesnapshots", "virtualmachinerestores"] as const;
const others = ["images", "keypairs", "securitygroups", "floatingips"] as const;
const namespaced = vireo("virtualmachines", ...diskKinds, ...others).join(" ");
const clusterScoped = vireo("flavors", "networks", "floatingippools", "hypervisors").join(" ");
/** All that users have to do with. */
const every = `${namespaced} ${clusterScoped}`;
const ADDRESS_SLICES = "vireo.dev/addressslices";
const everyStatus = every.replaceAll(/\S+/g, (kind) => `${kind}/status`);
const system = { namespace: SYSTEM_NAMESPACE };
const LEASES = "coordination.k8s.io/leases";
const EVENTS = "events.k8s.io/events";

const rights: readonly (readonly [string, readonly Line[], readonly Line[]])[] = [
  [
    accountOf(CONTROLLER),
    [
      ["get list watch", every],
      ["get list watch create update patch delete", ADDRESS_SLICES],
      [
        "patch",
        vireo("virtualmachines", ...diskKinds, "securitygroups", "floatingips", "floatingippools").join(" "),
      ],
      ["patch", everyStatus],
      ["create", "vireo.dev/securitygroups"],
      ["create patch", EVENTS],
      ["create get", "/secrets"],
      ["get list watch create patch", LEASES, system],
    ],
    [
      ["update delete deletecollection", every],
      [
        "create",
        `${vireo("virtualmachines", ...diskKinds, "images", "keypairs", "floatingips").join(" ")} ${clusterScoped}`,
      ],
      ["patch", vireo("images", "keypairs", "flavors", "networks", "hypervisors").join(" ")],
      ["list watch update patch delete", "/secrets"],
      ["create get", LEASES, { namespace: "default" }],
      ["delete", LEASES, system],
      ["get list", "/pods /configmaps /nodes"],
      ["create", "/pods /serviceaccounts/token"],
      ["impersonate", "/users"],
    ],
  ],
  [
    accountOf(NODE_AGENT),
    [
      ["get list watch", vireo("virtualmachines", ...diskKinds, "hypervisors", "floatingips").join(" ")],
      ["get list watch", "vireo.dev/images"],
      ["patch", diskKinds.map((kind) => `vireo.dev/${kind}/status`).join(" ")],
      ["get list watch", vireo("networks", "securitygroups", "addressslices").join(" ")],
      ["patch", vireo("virtualmachines/status", "hypervisors/status", "floatingips/status").join(" ")],
      ["create patch", `vireo.dev/hypervisors ${EVENTS}`],
      ["get create patch", LEASES, system],
      ["get", "/namespaces", { name: "kube-system" }],
    ],
    [
      ["get list watch create", "/secrets"],
      ["create update patch delete", `${namespaced} ${ADDRESS_SLICES} vireo.dev/networks`],
      ["update delete", "vireo.dev/hypervisors"],
      ["patch", vireo("images/status", "networks/status", "securitygroups/status").join(" ")],
      ["get list watch", "vireo.dev/keypairs"],
      ["list watch delete", LEASES, system],
      ["create", LEASES, { namespace: "default" }],
      ["get", "/namespaces", { name: "default" }],
      ["get list", "/pods /configmaps /nodes"],
      ["create", "/pods /serviceaccounts/token"],
    ],
  ],
  [
    "a-viewer",
    [["get list watch", every]],
    [
      ["create update patch delete", every],
      ["get list watch create update patch delete", ADDRESS_SLICES],
      ["get", "/secrets"],
    ],
  ],
  [
    "an-editor",
    [["create update patch delete deletecollection", namespaced]],
    [
      ["create update patch delete", clusterScoped],
      ["get list watch create update patch delete", ADDRESS_SLICES],
      ["update patch", everyStatus],
    ],
  ],
  [
    "an-administrator",
    [
      ["get list watch create update patch delete", clusterScoped],
      ["get list watch", ADDRESS_SLICES],
    ],
    [
      ["create update patch delete deletecollection", ADDRESS_SLICES],
      ["update patch", everyStatus],
    ],
  ],
  [
    "somebody",
    [["get list watch", vireo("flavors", "networks", "floatingippools").join(" ")]],
    [["get list", `${namespaced} vireo.dev/hypervisors ${ADDRESS_SLICES}`]],
  ],
];

const textOf = ({ verb, resource, where: { namespace = "", name = "" } }: Question): string =>
  [verb, resource, namespace, name].filter((part) => part !== "").join(" ");

describe.each(rights)("%s", (user, allowed, forbidden) => {
  const roles: Readonly<Record<string, string>> = {
    "a-viewer": "vireo-view",
    "an-editor": "vireo-edit",
    "an-administrator": "vireo-admin",
  };
  const binding = (): string => `${cluster.namespace}-${user}`;

  beforeAll(async () => {
    const role = roles[user];
    if (role === undefined) return;
    await cluster.controlPlane.kubectl([
      "create",
      "clusterrolebinding",
      binding(),
      `--clusterrole=${role}`,
      `--user=${user}`,
    ]);
  });

  afterAll(async () => {
    await cluster.controlPlane.kubectl(["delete", "clusterrolebinding", binding(), "--ignore-not-found"]);
  });

  test.each(questionsOf(allowed).map((question) => [textOf(question), question] as const))(
    "may %s",
    async (_text, question) => {
      expect(await may(user, question)).toBe(true);
    },
  );

  test.each(questionsOf(forbidden).map((question) => [textOf(question), question] as const))(
    "may not %s",
    async (_text, question) => {
      expect(await may(user, question)).toBe(false);
    },
  );
});

describe("the cluster's own roles are joined by", () => {
  const roleSchema = z.object({
    metadata: z.object({ labels: z.record(z.string(), z.string()).optional() }),
  });

  test.each([
    ["vireo-view", ["admin", "edit", "view"]],
    ["vireo-edit", ["admin", "edit"]],
    ["vireo-admin", []],
    ["vireo-controller", []],
    ["vireo-node-agent", []],
  ])("%s: %j", async (role, joined) => {
    const { body } = await cluster.administrator.call({
      method: "GET",
      path: `/apis/rbac.authorization.k8s.io/v1/clusterroles/${role}`,
    });
    const labels = roleSchema.parse(body).metadata.labels ?? {};
    const prefix = "rbac.authorization.k8s.io/aggregate-to-";
    const found = Object.keys(labels).flatMap((label) =>
      label.startsWith(prefix) ? [label.slice(prefix.length)] : [],
    );
    expect(found.toSorted()).toEqual(joined);
  });
});

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
