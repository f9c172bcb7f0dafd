import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { MAX_VNI } from "../../../src/api/network-identity.ts";
import type { Network } from "../../../src/api/network.ts";
import {
  chooseNumber,
  createNumberMemory,
  type NumberFacts,
  REST_MS,
} from "../../../src/controllers/network/numbers.ts";
import { networkWith, placedMachine, uidOf } from "./objects.ts";

/** Networks are as old as the day of January says. */
const network = (name: string, vni?: number, day = 1): Network => ({
  ...networkWith({}, { name, uid: uidOf(name), creationTimestamp: `2026-01-0${day}T00:00:00Z` }),
  ...(vni !== undefined && { status: { vni } }),
});

const memory = (now = 0) => createNumberMemory(() => now);

const choose = (subject: Network, others: readonly Network[], changes: Partial<NumberFacts> = {}) => {
  const facts = { machines: [], unreadable: 0, memory: memory(), ...changes };
  const choice = chooseNumber({ network: subject, networks: [subject, ...others], ...facts });
  return choice.kind === "number" ? choice.vni : `${choice.reason}: ${choice.message}`;
};

describe("A Network is given", () => {
  test.each<[string, Network, readonly Network[], number]>([
    ["number 1 when it is the first", network("lan"), [], 1],
    ["the lowest number that is free", network("lan"), [network("a", 1), network("b", 3)], 2],
    ["the number that it has", network("lan", 9), [network("a", 1)], 9],
    ["its number even if a younger one has the same", network("lan", 9), [network("a", 9, 2)], 9],
    ["another number if an older one has the same", network("lan", 9, 2), [network("a", 9)], 1],
  ])("%s", (_, subject, others, expected) => expect(choose(subject, others)).toBe(expected));

  test("no number that machines of a Network which is gone have", () => {
    expect(choose(network("new"), [], { machines: [placedMachine()] })).toBe(2);
  });

  test("the number of the machines in it when it was deleted and made again", () => {
    expect(choose(network("lan"), [network("a", 2)], { machines: [placedMachine()] })).toBe(1);
  });

  test("none when the number of its machines belongs to another", () => {
    expect(choose(network("lan", 1, 2), [network("a", 1)], { machines: [placedMachine()] })).toBe(
      "NumberConflict: Machines of this Network have number 1, which belongs to Network a. Delete them, and report this: it must not happen.",
    );
  });

  test("none when all are given out", () => {
    const others = Array.from({ length: MAX_VNI }, (_, index) => network(`n${index}`, index + 1));
    expect(choose(network("lan"), others)).toMatch(/^NumbersExhausted: All 16383 numbers/);
  });

  test("none while it is not known which are taken", () => {
    expect(choose(network("lan"), [], { unreadable: 1 })).toMatch(/^UnreadableObjects: /);
  });

  test("the number again that was sent for it, and no other is", () => {
    const remembered = memory();
    remembered.promise(uidOf("a"), 2);
    expect(choose(network("a"), [], { memory: remembered })).toBe(2);
    remembered.promise(uidOf("b"), 1);
    expect(choose(network("lan"), [], { memory: remembered })).toBe(3);
  });

  test("no number that was another's a moment ago", () => {
    let now = 0;
    const remembered = createNumberMemory(() => now);
    remembered.retire(network("gone", 1));
    expect(choose(network("lan"), [], { memory: remembered })).toBe(2);
    now = REST_MS;
    expect(choose(network("lan"), [], { memory: remembered })).toBe(1);
  });
});

test("Networks come to different numbers one after the other, whatever they had, and keep them", () => {
  const anyNetworks = fc.uniqueArray(
    fc.record({ name: fc.stringMatching(/^[a-z]{1,4}$/), vni: fc.option(fc.integer({ min: 1, max: 4 })) }),
    { selector: ({ name }) => name, maxLength: 8 },
  );
  fc.assert(
    fc.property(anyNetworks, (given) => {
      const remembered = memory();
      const settle = (networks: readonly Network[]): readonly Network[] =>
        networks.reduce<readonly Network[]>((current, { metadata: { name } }) => {
          const subject = current.find(({ metadata }) => metadata.name === name);
          if (subject === undefined) return current;
          const choice = chooseNumber({
            network: subject,
            networks: current,
            machines: [],
            unreadable: 0,
            memory: remembered,
          });
          const vni = choice.kind === "number" ? choice.vni : undefined;
          if (vni !== undefined) remembered.promise(subject.metadata.uid, vni);
          return current.map((each) => (each === subject ? network(name, vni) : each));
        }, networks);
      const once = settle(given.map(({ name, vni }) => network(name, vni ?? undefined)));
      const numbers = once.map(({ status }) => status?.vni);
      expect(new Set(numbers).size).toBe(given.length);
      expect(settle(once)).toEqual(once);
    }),
  );
});
