import { expect, test } from "@jest/globals";

import { migrateParameters } from "../../../src/libvirt/migrate-parameters.ts";

test.each([
  ["nothing when nothing is asked for", {}, []],
  [
    "texts and numbers under libvirt's names",
    { uri: "unix:///run/a", bandwidth: 5n, disksPort: 49_152 },
    [
      ["migrate_uri", "unix:///run/a"],
      ["bandwidth", 5n],
      ["disks_port", 49_152],
    ],
  ],
  [
    "a list as one parameter for each item",
    { migrateDisks: ["vda", "vdb"] },
    [
      ["migrate_disks", "vda"],
      ["migrate_disks", "vdb"],
    ],
  ],
  ["nothing for an empty list", { migrateDisks: [] }, []],
])("a migration is told %s", (_, parameters, expected) => {
  expect(migrateParameters(parameters)).toEqual(expected);
});
