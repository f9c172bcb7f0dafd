import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { CATEGORY } from "../../src/api/crd.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { kinds } from "../../src/api/index.ts";
import { floatingIps } from "../../src/api/floating-ip.ts";
import { networks } from "../../src/api/network.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { APPLY_PATCH } from "./support/api-client.ts";
import { create, ROOT, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { mergePatch, validManifest } from "./support/manifests.ts";

const CLIENT_SIDE_APPLY_LIMIT = 262_144;
const MAX_BYTES = 100_000;

let cluster: TestCluster;

const kubectl = (args: readonly string[]): Promise<string> => cluster.controlPlane.kubectl(args);

/** A name that no other test on this cluster has: for kinds that have no namespace. */
const named = (suffix: string): string => `${cluster.namespace}-${suffix}`;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const crdSchema = z.object({
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })) }),
});

describe.each(kinds.map((kind) => [kind.kind, kind] as const))("the CRD of %s", (_kind, resource) => {
  const file = join(ROOT, `crds/vireo.dev_${resource.plural}.yaml`);

  test("is established, without a warning", async () => {
    await kubectl(["apply", "--server-side", "--force-conflicts", "--warnings-as-errors", "-f", file]);
    const stored = await kubectl(["get", "crd", `${resource.plural}.vireo.dev`, "--output=json"]);
    const { conditions } = crdSchema.parse(JSON.parse(stored)).status;
    const truths = conditions.filter(({ status }) => status === "True").map(({ type }) => type);
    expect(truths.toSorted()).toEqual(["Established", "NamesAccepted"]);
  });

  test("fits in the annotation of a client-side apply, with room to grow", async () => {
    const { length } = await readFile(file);
    expect(length).toBeLessThan(MAX_BYTES);
    expect(MAX_BYTES).toBeLessThan(CLIENT_SIDE_APPLY_LIMIT);
  });

  test("introduces the kind in kubectl explain", async () => {
    const text = await kubectl(["explain", `${resource.plural}.vireo.dev`]);
    // kubectl wraps lines.
    expect(text.replaceAll(/\s+/g, " ")).toContain(resource.definition.description);
  });
});

describe("kubectl", () => {
  test("explains the spec of a VirtualMachine, with its defaults and values", async () => {
    const words = (await kubectl(["explain", "virtualmachine.spec"])).replaceAll(/\s+/g, " ");
    expect(words).toContain("Only users write here; what the system chooses is in status.");
    expect(words).toContain("enum: Always, RerunOnFailure, Once, Halted");
    expect(words).toContain("Then its power is cut; with 0 at once. Default: 60.");
  });

  test("lists everything by the category, under the names of the kinds", async () => {
    for (const kind of kinds) await create(cluster, kind, validManifest(kind, named("listed")));
    const lines = await kubectl(["get", CATEGORY, "--all-namespaces", "--output=name"]);
    const wanted = kinds.map(({ definition }) => `${definition.singular}.vireo.dev/${named("listed")}`);
    expect(lines.trim().split("\n")).toEqual(expect.arrayContaining(wanted));
  });

  test.each(
    kinds.flatMap(({ definition }) => definition.shortNames.map((name) => [name, definition.singular])),
  )("knows %s as a short name of %s", async (shortName, singular) => {
    const lines = await kubectl(["get", shortName, `--namespace=${cluster.namespace}`, "--output=name"]);
    expect(lines).toContain(`${singular}.vireo.dev/`);
  });

  test("shows a machine's state in its columns", async () => {
    const header = (await kubectl(["get", "vm", `--namespace=${cluster.namespace}`])).split("\n")[0];
    const wide = (await kubectl(["get", "vm", `--namespace=${cluster.namespace}`, "--output=wide"])).split(
      "\n",
    )[0];
    expect(header?.split(/\s+/)).toEqual(["NAME", "STATUS", "READY", "NODE", "IP", "AGE"]);
    expect(wide?.split(/\s+/)).toEqual(expect.arrayContaining(["FLAVOR", "IMAGE", "STRATEGY", "REASON"]));
  });
});

describe("kubectl shows where they stand of", () => {
  test.each([
    ["volume", ["NAME", "PHASE", "READY", "SIZE", "MACHINE", "NODE", "AGE"]],
    ["vmsnapshot", ["NAME", "MACHINE", "PHASE", "READY", "CONSISTENCY", "MEMORY", "TAKEN", "AGE"]],
    ["vmrestore", ["NAME", "MACHINE", "SNAPSHOT", "PHASE", "READY", "AGE"]],
  ])("a %s", async (kind, columns) => {
    const header = (await kubectl(["get", kind, `--namespace=${cluster.namespace}`])).split("\n")[0];
    expect(header?.split(/\s+/)).toEqual(columns);
  });
});

describe("the API server fills the defaults of", () => {
  test("a VirtualMachine", async () => {
    const manifest = {
      ...validManifest(virtualMachines, "bare"),
      spec: { flavor: "small", image: "debian", networks: [{ name: "default" }] },
    };
    expect((await create(cluster, virtualMachines, manifest)).spec).toEqual({
      ...manifest.spec,
      networks: [{ name: "default", allowedAddresses: [] }],
      rootDisk: { pool: "local" },
      volumes: [],
      cdroms: [],
      keyPairs: [],
      securityGroups: [],
      graphics: ["VNC"],
      hostDevices: [],
      runStrategy: "Always",
      terminationGracePeriodSeconds: 60,
      firmware: "BIOS",
      tpm: false,
    });
  });

  test("an Image", async () => {
    const manifest = {
      ...validManifest(images, "bare"),
      spec: { source: { file: "tiny.qcow2" }, format: "qcow2" },
    };
    expect((await create(cluster, images, manifest)).spec).toEqual({
      ...manifest.spec,
      compression: "None",
      visibility: "Private",
      sharedWith: [],
    });
  });

  test("a Volume", async () => {
    const manifest = { ...validManifest(volumes, "bare"), spec: { size: "1Gi" } };
    expect((await create(cluster, volumes, manifest)).spec).toEqual({
      size: "1Gi",
      pool: "local",
      deletionPolicy: "Delete",
    });
  });

  test("a VirtualMachineSnapshot", async () => {
    const manifest = {
      ...validManifest(virtualMachineSnapshots, "bare"),
      spec: { virtualMachine: "web" },
    };
    expect((await create(cluster, virtualMachineSnapshots, manifest)).spec).toEqual({
      virtualMachine: "web",
      includeMemory: false,
      quiesce: "IfPossible",
    });
  });

  test("a Network", async () => {
    const manifest = {
      ...validManifest(networks, named("bare")),
      spec: { cidr: "10.0.0.0/24" },
    };
    expect((await create(cluster, networks, manifest)).spec).toEqual({
      ...manifest.spec,
      dnsServers: [],
      mtu: 1450,
      reservedAddresses: [],
      egress: "NAT",
      reachableFromNodes: true,
      routesTo: [],
    });
  });

  test("a SecurityGroup", async () => {
    const { spec: _, ...manifest } = validManifest(securityGroups, "bare");
    expect((await create(cluster, securityGroups, manifest)).spec).toEqual({
      ingress: [],
      logRefused: false,
    });
  });

  test("a rule of a SecurityGroup", async () => {
    const manifest = { ...validManifest(securityGroups, "bare-rule"), spec: { ingress: [{}], egress: [{}] } };
    expect((await create(cluster, securityGroups, manifest)).spec).toEqual({
      ingress: [{ protocol: "any" }],
      egress: [{ protocol: "any" }],
      logRefused: false,
    });
  });

  test("a FloatingIP", async () => {
    const manifest = { ...validManifest(floatingIps, "bare"), spec: { pool: "public", targets: ["web-0"] } };
    expect((await create(cluster, floatingIps, manifest)).spec).toEqual({
      ...manifest.spec,
      failback: "Never",
    });
  });

  test("a Hypervisor that an agent applies without any spec", async () => {
    const name = named("bare");
    const { apiVersion, kind } = validManifest(hypervisors, name);
    const reply = await cluster.administrator.call({
      method: "PATCH",
      path: `${cluster.pathOf(hypervisors, name)}?fieldManager=vireo-node-agent`,
      contentType: APPLY_PATCH,
      body: { apiVersion, kind, metadata: { name } },
    });
    expect(hypervisors.parse(reply.body).spec).toEqual({
      unschedulable: false,
      drain: false,
      maxParallelMigrations: 2,
      outOfService: false,
      cpuOvercommitPercent: 400,
      memoryOvercommitPercent: 100,
    });
  });

  test("a field that a manifest sets to null", async () => {
    const { spec } = await create(cluster, virtualMachines, {
      ...validManifest(virtualMachines, "null"),
      spec: { flavor: "small", image: "a", networks: [{ name: "b" }], keyPairs: null, runStrategy: null },
    });
    expect([spec.keyPairs, spec.runStrategy]).toEqual([[], "Always"]);
  });
});

describe("user data is kept to the byte when it has", () => {
  const controlCharacters = Array.from({ length: 31 }, (_, index) => String.fromCodePoint(index + 1)).join(
    "",
  );

  test.each([
    ["control characters", controlCharacters],
    ["quotes, XML and a shell's own characters", `'"</domain><!-- $(reboot) \`id\` ; & | \\ %s`],
    ["line ends of every system", "a\nb\r\nc\rd\u2028e"],
    ["65536 characters that take four bytes each", "😀".repeat(65_536)],
    ["nothing", ""],
  ])("%s", async (_sentence, userData) => {
    const patch = { metadata: { name: null, generateName: "data-" }, spec: { cloudInit: { userData } } };
    const manifest = mergePatch(validManifest(virtualMachines, ""), patch);
    const machine = await create(cluster, virtualMachines, manifest);
    expect(machine.spec.cloudInit?.userData).toBe(userData);
  });
});

describe("a machine's node", () => {
  const namesSchema = z.object({ items: z.array(z.object({ metadata: z.object({ name: z.string() }) })) });

  const machinesOf = async (node: string): Promise<readonly string[]> => {
    const selector = encodeURIComponent(`status.nodeName=${node}`);
    const path = `${cluster.pathOf(virtualMachines)}?fieldSelector=${selector}`;
    const { body } = await cluster.administrator.call({ method: "GET", path });
    return namesSchema.parse(body).items.map(({ metadata }) => metadata.name);
  };

  test("selects the machine on the server", async () => {
    for (const name of ["placed-a", "placed-b"]) {
      await create(cluster, virtualMachines, validManifest(virtualMachines, name));
      await cluster.administrator.call({
        method: "PATCH",
        path: `${cluster.pathOf(virtualMachines, name)}/status?fieldManager=vireo-controller`,
        contentType: APPLY_PATCH,
        body: {
          apiVersion: "vireo.dev/v1alpha1",
          kind: "VirtualMachine",
          status: { nodeName: `node-${name}` },
        },
      });
    }
    await waitFor(
      "the server's cache to have both",
      async () => (await machinesOf("node-placed-b")).length > 0,
    );
    expect(await machinesOf("node-placed-a")).toEqual(["placed-a"]);
    expect(await machinesOf("node-elsewhere")).toEqual([]);
  });
});
