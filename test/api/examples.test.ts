import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseAllDocuments } from "yaml";

import { kinds } from "../../src/api/index.ts";
import { ROOT, startTestCluster, type TestCluster } from "./support/cluster.ts";

const DIRECTORY = join(ROOT, "examples");
const files = readdirSync(DIRECTORY).filter((file) => file.endsWith(".yaml"));

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

describe.each(files)("examples/%s", (file) => {
  const text = readFileSync(join(DIRECTORY, file), "utf8");

  test("is taken by the API server as it is, every document of it", async () => {
    const lines = await cluster.controlPlane.kubectl([
      "apply",
      "--server-side",
      "--dry-run=server",
      "--validate=strict",
      "--warnings-as-errors",
      `--namespace=${cluster.namespace}`,
      `--filename=${join(DIRECTORY, file)}`,
    ]);
    expect(lines.trim().split("\n")).toHaveLength(parseAllDocuments(text).length);
  });

  test("is explained in the list of examples", () => {
    expect(readFileSync(join(DIRECTORY, "README.md"), "utf8")).toContain(`(${file})`);
  });

  test("says what it is in its first line", () => {
    expect(text).toMatch(/^# \S.*\n/);
  });
});

const kindsIn = (file: string): readonly string[] =>
  parseAllDocuments(readFileSync(join(DIRECTORY, file), "utf8")).map((document) =>
    String(document.get("kind")),
  );

test("the quickstart has one of each kind that a machine needs", () => {
  const needed = ["Flavor", "Image", "KeyPair", "Network", "VirtualMachine"];
  expect(kindsIn("quickstart.yaml").toSorted()).toEqual(needed);
});

test("there is an example of each kind that a user writes", () => {
  const ofVireo = new Set(["Hypervisor", "AddressSlice"]);
  const written = kinds.map(({ kind }) => kind).filter((kind) => !ofVireo.has(kind));
  expect([...new Set(files.flatMap(kindsIn))].toSorted()).toEqual(written.toSorted());
});
