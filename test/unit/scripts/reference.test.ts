import { describe, expect, test } from "@jest/globals";

import { kinds } from "../../../src/api/index.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { referenceIndex, referencePage } from "../../../scripts/reference.ts";

const rowOf = (page: string, field: string): readonly string[] | undefined =>
  page
    .split("\n")
    .find((line) => line.startsWith(`| \`${field}\` |`))
    ?.split(/(?<!\\)\|/)
    .map((cell) => cell.trim())
    .slice(1, -1);

describe("the reference page of VirtualMachine", () => {
  const page = referencePage(virtualMachines);

  test.each([
    ["a name", "spec.flavor", "string, 1 to 253 characters", ""],
    ["a default", "spec.terminationGracePeriodSeconds", "integer, 0 to 3600", "`60`"],
    ["the values of an enum", "spec.firmware", "`BIOS`, `UEFI`", "`BIOS`"],
    ["a field inside a list", "spec.networks[].name", "string, 1 to 253 characters", "required"],
    ["a list with keys", "spec.networks", "list of object; entries: 1 to 8, one for each `name`", "required"],
    ["a map", "spec.nodeSelector", "map of string to string, at most 63 characters, at most 16 entries", ""],
  ])("tells %s", (_sentence, field, type, fallback) => {
    expect(rowOf(page, field)?.slice(1, 3)).toEqual([type, fallback]);
  });

  test("names what cannot be changed", () => {
    expect(page).toContain("- `spec.hostname`: hostname cannot be changed after the machine was made");
  });
});

describe("every page", () => {
  test.each(kinds.map((kind) => [kind.kind, kind] as const))("of %s has whole tables", (_kind, resource) => {
    const rows = referencePage(resource)
      .split("\n")
      .filter((line) => line.startsWith("| `"));
    expect(rows.length).toBeGreaterThan(3);
    expect(rows.filter((row) => row.split(/(?<!\\)\|/).length !== 6)).toEqual([]);
  });

  test("escapes what would end a cell", () => {
    expect(referencePage(keyPairs)).not.toMatch(/\|[^|\n]*ssh-ed25519\|/);
  });

  test("is linked from the index", () => {
    for (const { kind, definition } of kinds) {
      expect(referenceIndex(kinds)).toContain(`[${kind}](${definition.singular}.md)`);
    }
  });
});
