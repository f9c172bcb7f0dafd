import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { parse } from "yaml";

import { images } from "../../src/api/image.ts";
import { kinds } from "../../src/api/index.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { apiVersionOf, type Resource } from "../../src/api/resource.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { type ApiClient, connect, refusalOf } from "../api/support/api-client.ts";
import { type JsonObject, mergePatch, validManifest } from "../api/support/manifests.ts";
import { type ImageServer, startImageServer } from "../contract/disks/image-server.ts";
import { argumentsOf } from "../testbed/process-table.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";
import { fieldName, type UserField, userFieldsOf, withField } from "./support/user-fields.ts";

const BOOT_MS = 240_000;

let stage: Stage;
let server: ImageServer;

beforeAll(async () => {
  stage = await startStage({
    nodes: 1,
    agentFlags: (_name, { hostAddress }) => [`--allow-download-network=${hostAddress}/32`],
  });
  server = await startImageServer(stage.testbed.underlay.hostAddress);
}, 180_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await stage.stop();
}, 60_000);

/** What would do harm if it were pasted into a path, a command, XML, YAML, a rule or a page. */
const hostileValues = [
  "../../../etc/passwd",
  "/etc/passwd",
  "a'b",
  'a"b',
  "</name><devices/>",
  "a]]>b",
  "a: b",
  "- a",
  "{{a}}",
  "a\nb",
  "a\r\nb: c",
  "a\tb",
  "$(reboot)",
  "`reboot`",
  "a;reboot",
  "a|reboot",
  "-A FORWARD -j ACCEPT",
  "%s%n",
  "a\\b",
  "Ünïcödé",
  "💥",
  "\u202Eevil",
  "a\u0000b",
  "\u001b[31m",
  " ",
  "a".repeat(300_000),
] as const;

describe("a hostile value in a field of its own", () => {
  /** Fields that may hold any text. Whatever they hold is data, as the tests below show. */
  const freeText = new Set([
    "spec.cloudInit.userData",
    "metadata.annotations.example.com/disk",
    // For people: it is shown, and goes nowhere else.
    "spec.description",
    "spec.ingress[0].description",
    "spec.egress[0].description",
    // An argument vector for the guest's agent, which no shell sees.
    "spec.livenessProbe.exec.command[0]",
    "spec.readinessProbe.exec.command[0]",
  ]);

  let administrator: ApiClient;

  beforeAll(async () => {
    const { kubectl, controlPlane } = stage.testbed;
    await kubectl(["create", "serviceaccount", "tester", "-n", NAMESPACE]);
    const binding = ["create", "clusterrolebinding", "tester", "--clusterrole=cluster-admin"];
    await kubectl([...binding, `--serviceaccount=${NAMESPACE}:tester`]);
    administrator = await connect(controlPlane, await controlPlane.issueToken("tester", NAMESPACE));
  }, 60_000);

  afterAll(() => administrator.close());

  const pathOf = (resource: Resource): string =>
    `/apis/${apiVersionOf(resource)}${resource.namespaced ? `/namespaces/${NAMESPACE}` : ""}/${resource.plural}?dryRun=All&fieldValidation=Strict`;

  /** A valid manifest to put the value into: of two that exclude each other, with the one that is asked for. */
  const baseFor = (resource: Resource, { path }: UserField): JsonObject => {
    const manifest = validManifest(resource, "valid");
    const [, first = "", second = ""] = path.map(String);
    if (first === "source" && second === "file")
      return mergePatch(manifest, { spec: { source: { url: null } } });
    if (first === "generate") return mergePatch(manifest, { spec: { publicKey: null } });
    return manifest;
  };

  /** "accepted", or whether the refusal says which field it is about. */
  const verdictOn = async (resource: Resource, field: UserField, value: string): Promise<string> => {
    const reply = await administrator.call({
      method: "POST",
      path: pathOf(resource),
      body: withField(baseFor(resource, field), field, value),
    });
    const refusal = refusalOf(reply);
    if (refusal === undefined) return "accepted";
    const named = fieldName({ ...field, path: field.path.slice(0, 2), part: "value" });
    const isNamed = [...refusal.fields, refusal.message].some((text) => text.includes(named));
    return isNamed ? "refused with the field" : `refused without the field: ${refusal.message.slice(0, 300)}`;
  };

  test.each(kinds)(
    "is refused with the field's name in every field of $kind that does not hold free text",
    async (kind) => {
      for (const field of await userFieldsOf(kind)) {
        const name = fieldName(field);
        const verdicts = await Promise.all(hostileValues.map((value) => verdictOn(kind, field, value)));
        const wrong = hostileValues.flatMap((value, index) => {
          const verdict = verdicts[index];
          const isFine =
            verdict === "refused with the field" || (freeText.has(name) && verdict === "accepted");
          return isFine ? [] : [`${name} = ${JSON.stringify(value.slice(0, 40))}: ${verdict}`];
        });
        expect(wrong).toEqual([]);
      }
    },
    60_000,
  );

  test("is accepted where free text is the purpose", async () => {
    const field: UserField = { path: ["spec", "cloudInit", "userData"], part: "value" };
    const taken = hostileValues.filter((value) => !value.includes("\u0000") && value.length < 65_536);
    for (const value of taken) {
      expect([value, await verdictOn(virtualMachines, field, value)]).toEqual([value, "accepted"]);
    }
  });
});

/** Everything that the API server lets through, in one machine. */
describe("a machine with the most hostile of what is accepted", () => {
  /** 253 characters, and where it is cut to a host name there is a dot. */
  const longName = (letter: string): string => `${letter.repeat(62)}.${letter.repeat(190)}`;
  const names = {
    machine: longName("m"),
    flavor: longName("f"),
    image: longName("i"),
    keyPair: longName("k"),
    network: longName("n"),
  } as const;
  /** Found where it should not be, it was pasted. */
  const MARK = "run-harm";
  const harm = `../../etc '"<a b="c">&amp;]]> $(${MARK}) \`${MARK}\` ; ${MARK} | {{x}} %s%n : - # \\`;
  const comment = `me@example.com ${harm}`;
  const userData = [
    "#!/bin/sh",
    ": <<'END'",
    `- a: ${harm}`,
    "---",
    "\u202E💥 Ünïcödé \u0085\u2028 \t\u0007\u001b[31m",
    "a line that ends like in DOS\r",
    "END",
    "echo it ran >/root/ran",
    "# no line end here",
  ].join("\n");
  const url = (): string => server.url(`/..%2f../'";$(${MARK})<a>&=]]>\`${MARK}\`|{{x}}?a=..%2f&b='"`);

  let guest: Guest;
  let publicKey: string;

  beforeAll(async () => {
    const key = (await readFile(`${stage.privateKeyFile}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
    publicKey = `${key} ${comment}`;
    const { pathname, search } = new URL(url());
    const bytes = await readFile(join(stage.testbed.importDirectory, "tiny.qcow2"));
    server.serve(`${pathname}${search}`, { bytes });
    const machine = manifests.machine(names.machine, {
      flavor: names.flavor,
      image: names.image,
      keyPairs: [names.keyPair],
      networks: [{ name: names.network }],
      cloudInit: { userData },
    });
    await stage.apply(
      manifests.flavor(names.flavor),
      manifests.image(names.image, { source: { url: url() } }),
      manifests.keyPair(names.keyPair, { publicKey }),
      manifests.network(names.network),
      {
        ...machine,
        metadata: {
          ...machine.metadata,
          annotations: { "example.com/note": `${harm}\n\u0000💥` },
          labels: { [`${"x.".repeat(126)}x/${"K".repeat(63)}`]: "V".repeat(63) },
        },
      },
    );
    await stage.untilStatus(names.machine, "Running");
    guest = await guestOf(stage, names.machine);
    await guest.untilBooted();
  }, BOOT_MS);

  test("runs, and the guest has its name, cut to a host name, and its key with the comment", async () => {
    expect(isReady(await stage.machine(names.machine))).toBe(true);
    expect(await guest.boots()).toMatchObject([{ hostname: "m".repeat(62) }]);
    expect(await guest.run("cat /root/.ssh/authorized_keys")).toBe(`${publicKey}\n`);
    expect((await stage.read(keyPairs, names.keyPair))?.status?.publicKey).toBe(publicKey);
  }, 60_000);

  test("gets its user data byte for byte, in a seed whose other files hold it as values only", async () => {
    await guest.run("mkdir -p /tmp/seed && mount -t iso9660 -o ro /dev/sr0 /tmp/seed");
    const digest = createHash("sha256").update(userData).digest("hex");
    expect(await guest.run("cd /tmp/seed && sha256sum user-data && ls")).toBe(
      `${digest}  user-data\nmeta-data\nnetwork-config\nuser-data\n`,
    );
    expect(parse(await guest.run("cat /tmp/seed/meta-data"))).toEqual({
      "instance-id": guest.vmUid,
      "local-hostname": "m".repeat(62),
      "public-keys": [publicKey],
    });
    expect(parse(await guest.run("cat /tmp/seed/network-config"))).toMatchObject({
      version: 2,
      ethernets: { net0: { addresses: [`${guest.address}/24`] } },
    });
    await guest.untilSaid(/vireo-guest ready/);
    expect(await guest.run("umount /tmp/seed; cat /root/ran")).toBe("it ran\n");
  }, 60_000);

  test("is well-formed XML to libvirt, with its name as text", async () => {
    const xml = await guest.node.virsh(["dumpxml", `vireo-${guest.vmUid}`]);
    expect(XMLValidator.validate(xml)).toBe(true);
    const { domain } = new XMLParser().parse(xml) as { domain: { title: string; name: string } };
    expect(domain).toMatchObject({ name: `vireo-${guest.vmUid}`, title: `${NAMESPACE}/${names.machine}` });
    expect(xml.includes(MARK)).toBe(false);
    expect(argumentsOf(guest.processId() ?? 0).join("\n")).not.toMatch(new RegExp(`${MARK}|\\.\\./|n{60}`));
  }, 60_000);

  test("leaves nothing but UIDs, digests and addresses in rules, links and directories", async () => {
    const rules = (await guest.node.run(["iptables-save"])).split("\n").filter((line) => /vtap/.test(line));
    expect(rules.length).toBeGreaterThan(5);
    for (const line of rules) expect(line).toMatch(/^[-:!A-Za-z0-9 ./"_,+[\]]+$/);
    expect(rules.join("\n")).not.toMatch(new RegExp(`${MARK}|[mn]{60}`));
    const links = await guest.node.run(["ip", "-d", "link"]);
    expect(links).not.toMatch(new RegExp(`${MARK}|[mn]{60}`));
    const { metadata } = await stage.until(images, names.image, isReady);
    // A short word of ours, or a UID.
    const known = new RegExp(`^(\\.?[a-z][a-z0-9.]{0,15}|${metadata.uid}|${guest.vmUid}(\\.(log|sock))?)$`);
    const found = await readdir(guest.node.stateDirectory, { recursive: true });
    expect(found.flatMap((path) => path.split("/")).filter((name) => !known.test(name))).toEqual([]);
  }, 60_000);

  test("has its events, and is gone without a trace when it is deleted", async () => {
    const events = await stage.testbed.kubectl(["events", `--for=vm/${names.machine}`, "-n", NAMESPACE]);
    for (const reason of ["Scheduled", "GuestStarted"]) expect(events).toContain(reason);
    await stage.deleteMachines(names.machine);
    await expectLeftovers(stage.testbed, "node-1");
  }, 120_000);
});
