import { describe, expect, test } from "@jest/globals";

import { placed } from "../../../../../src/node-agent/desired.ts";
import type { MigrationContext } from "../../../../../src/node-agent/reconcilers/migration/migration-context.ts";
import { prepareDisks } from "../../../../../src/node-agent/reconcilers/migration/prepare-arrival.ts";
import {
  DamagedDiskError,
  DiskStateError,
  type ReceptionOutcome,
} from "../../../../../src/node-agent/volumes/index.ts";
import { acceptedWith } from "../../../controllers/virtual-machine-migration/migrating.ts";
import { machineWith } from "../../machines.ts";

const options = { signal: new AbortController().signal };

/** What becomes of the arrival of a machine with a root disk alone, when that is received so. */
const arrival = async (receive: () => Promise<ReceptionOutcome>) => {
  const machine = machineWith();
  const target = placed({
    ...machine,
    status: {
      ...machine.status,
      allocation: machine.status?.allocation && { ...machine.status.allocation, image: undefined },
    },
  });
  if (target === undefined) throw new Error("the machine is not placed");
  const context = {
    steps: { volumes: { pools: async () => [], transfers: { receive } } },
    peers: { source: () => ({ disk: async () => ({}) }) },
  } as unknown as MigrationContext;
  return prepareDisks(target, acceptedWith({ live: false }), context, options);
};

const failing = (error: Error) => async (): Promise<never> => {
  throw error;
};

describe("A disk that a machine comes with", () => {
  test("is here when it was received", async () => {
    const chain = { path: "/pool/disks/x/base.qcow2", backing: [] };
    expect(
      await arrival(async () => ({ kind: "ready", chain }) as unknown as ReceptionOutcome),
    ).toBeUndefined();
  });

  test.each([
    ["is another one's", new DiskStateError("it exists on this node")],
    ["is damaged", new DamagedDiskError("its record cannot be read")],
  ])("is told of when what is here in its place %s, since a person has to look at that", async (_, error) => {
    expect(await arrival(failing(error))).toMatchObject({
      kind: "not-ready",
      reason: "DiskConflict",
      message: `This node cannot take the machine: ${error.message}.`,
    });
  });

  test("is asked for again when anything else goes wrong", async () => {
    await expect(arrival(failing(new Error("the source does not answer")))).rejects.toThrow(
      "does not answer",
    );
  });
});
