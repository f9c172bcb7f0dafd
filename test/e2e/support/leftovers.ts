import { expect } from "@jest/globals";

import type { Testbed } from "../../testbed/testbed.ts";
import { waitFor } from "../../testbed/wait.ts";

/**
 * Waits until a node holds this and no more. The agent lets a machine's object
 * go when its guest, tap, rules and disk are gone; what its group or its
 * Network has there goes when the AddressSlices say that nobody needs it.
 */
export const expectLeftovers = async (
  testbed: Testbed,
  nodeName: string,
  expected: readonly string[] = [],
): Promise<void> => {
  await waitFor(
    `${nodeName} to hold for virtual machines what it should`,
    async () => {
      expect(await testbed.leftovers(nodeName)).toEqual(expected);
      return true;
    },
    { timeoutMs: 60_000, intervalMs: 250 },
  );
};

/**
 * What a node holds for guests that exist: domains, processes, taps, files.
 * Rules do not count, since a machine that is on its way has them before it has
 * anything else.
 */
export const guestLeftovers = async (testbed: Testbed, nodeName: string): Promise<readonly string[]> =>
  (await testbed.leftovers(nodeName)).filter((line) => /^(domain|process|device vtap|file) ?/.test(line));
