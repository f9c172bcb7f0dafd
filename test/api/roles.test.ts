import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
import { startTestCluster, type TestCluster } from "./support/cluster.ts";
import { CONTROLLER, installSystem, NODE_AGENT } from "./support/system.ts";

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
const REQUESTS = "certificates.k8s.io/certificatesigningrequests";
const SIGNERS = "certificates.k8s.io/signers";
const API_SERVICES = "apiregistration.k8s.io/apiservices";
/** The certificate authority: a Secret, and what everybody trusts. */
const authority = { namespace: SYSTEM_NAMESPACE, name: "vireo-ca" };

/** Where kube-apiserver says how it is known to aggregated APIs. */
const AUTHENTICATION = { namespace: "kube-system", name: "extension-apiserver-authentication" };

/** What the api-server adds to machines. */
const of = (...names: readonly string[]): string =>
  names.map((name) => `subresources.vireo.dev/virtualmachines/${name}`).join(" ");
const documents = of("log", "screenshot");
const streams = of("console", "vnc", "spice", "portforward");
const actions = of("restart", "pause", "unpause");
const SEED = of("seed");

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
      ["list watch delete", REQUESTS],
      ["patch", `${REQUESTS}/approval ${REQUESTS}/status`],
      ["approve sign", SIGNERS, { name: "vireo.dev/node-agent" }],
      ["approve sign", SIGNERS, { name: "vireo.dev/api-server" }],
      ["get list watch patch", "/configmaps", authority],
      ["create", "/configmaps", system],
      ["list watch patch", API_SERVICES, { name: "v1alpha1.subresources.vireo.dev" }],
    ],
    [
      ["approve sign", SIGNERS, { name: "kubernetes.io/kube-apiserver-client" }],
      ["create update patch", REQUESTS],
      ["get patch", "/configmaps", { ...system, name: "other" }],
      ["update delete", "/configmaps", authority],
      ["patch", API_SERVICES, { name: "v1.apps" }],
      ["create update delete", API_SERVICES],
      ["get create", `${documents} ${streams} ${actions} ${SEED}`],
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
      ["create get", REQUESTS],
      ["get list watch", "/configmaps", authority],
      ["get", SEED],
    ],
    [
      ["list watch update patch delete", REQUESTS],
      ["patch update", `${REQUESTS}/approval ${REQUESTS}/status`],
      ["approve sign", SIGNERS, { name: "vireo.dev/node-agent" }],
      ["get", "/secrets", authority],
      ["create patch update delete", "/configmaps", system],
      ["get create", `${documents} ${streams} ${actions}`],
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
    accountOf("vireo-api-server"),
    [
      ["get", vireo("virtualmachines", "hypervisors").join(" ")],
      ["list", "vireo.dev/virtualmachinemigrations"],
      ["create get", REQUESTS],
      ["get list watch", "/configmaps", authority],
      ["get list watch", "/configmaps", AUTHENTICATION],
      // For seeds: vireo-api-server-seeds, which an administrator may narrow.
      ["get", "/secrets"],
    ],
    [
      ["list watch", `${namespaced} vireo.dev/hypervisors ${ADDRESS_SLICES}`],
      ["create update patch delete", `${every} ${ADDRESS_SLICES}`],
      ["patch update", everyStatus],
      ["get", vireo("images", "keypairs", "securitygroups").join(" ")],
      ["list watch create update patch delete", "/secrets"],
      ["list watch update patch delete", REQUESTS],
      ["approve sign", SIGNERS, { name: "vireo.dev/api-server" }],
      ["create patch update delete", "/configmaps", system],
      ["get", "/configmaps", { namespace: "kube-system", name: "other" }],
      ["get list", "/pods /nodes"],
      ["get create", LEASES, system],
      ["create", `/serviceaccounts/token ${EVENTS}`],
      ["impersonate", "/users"],
      ["get create", `${documents} ${streams} ${actions} ${SEED}`],
    ],
  ],
  [
    "a-viewer",
    [
      ["get list watch", every],
      ["get", documents],
    ],
    [
      ["get", `${streams} ${SEED}`],
      ["create", actions],
      ["create update patch delete", every],
      ["get list watch create update patch delete", ADDRESS_SLICES],
      ["get", "/secrets"],
    ],
  ],
  [
    "an-editor",
    [
      ["create update patch delete deletecollection", namespaced],
      ["get", streams],
      ["create", actions],
    ],
    [
      ["get", SEED],
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
    [
      ["get list", `${namespaced} vireo.dev/hypervisors ${ADDRESS_SLICES}`],
      ["get", `${documents} ${streams} ${SEED}`],
      ["create", actions],
    ],
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
    ["vireo-api-server", []],
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
