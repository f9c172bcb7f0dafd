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

test("the quickstart has one of each kind that a user writes", () => {
  const documents = parseAllDocuments(readFileSync(join(DIRECTORY, "quickstart.yaml"), "utf8"));
  const found = documents.map((document) => String(document.get("kind")));
  const written = kinds.map(({ kind }) => kind).filter((kind) => kind !== "Hypervisor");
  expect(found.toSorted()).toEqual(written.toSorted());
});
