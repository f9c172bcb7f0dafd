import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { count, startCounter } from "../../../../src/node-agent/probes/counter.ts";
import type { Finding, ProbeResult } from "../../../../src/node-agent/probes/types.ts";

const pending: Finding = { kind: "pending" };
const healthy: Finding = { kind: "healthy" };
const unhealthy: Finding = { kind: "unhealthy", message: "before" };

const letters: Readonly<Record<string, ProbeResult["kind"]>> = { s: "success", f: "failure", u: "unknown" };

/** Results in a word: s for a success, f for a failure, u for unknown; a failure's message is its position. */
const resultsOf = (word: string): ProbeResult[] =>
  Array.from(word, (letter, index) => ({ kind: letters[letter] ?? "unknown", message: `seen ${index}` }));

const findingAfter = (initial: Finding, word: string, successThreshold: number, failureThreshold: number) =>
  resultsOf(word).reduce(
    (counter, result) => count(counter, result, { successThreshold, failureThreshold }),
    startCounter(initial),
  ).finding;

describe("a finding", () => {
  test.each<[string, Finding, string, number, number, Finding]>([
    ["is what it was without a result", pending, "", 1, 3, pending],
    ["is healthy after one success by default", pending, "s", 1, 3, healthy],
    ["waits for as many successes as it takes", pending, "ss", 3, 3, pending],
    ["is healthy after as many in a row", pending, "sss", 3, 3, healthy],
    ["does not add successes up across a failure", pending, "ssfss", 3, 3, pending],
    ["stays healthy after too few failures", healthy, "ff", 1, 3, healthy],
    ["does not add failures up across a success", healthy, "ffsff", 1, 3, healthy],
    [
      "is unhealthy with what the deciding failure saw",
      healthy,
      "fff",
      1,
      3,
      { kind: "unhealthy", message: "seen 2" },
    ],
    ["is unhealthy from pending too", pending, "f", 1, 1, { kind: "unhealthy", message: "seen 0" }],
    ["keeps its first message, however it fails later", unhealthy, "ffff", 1, 1, unhealthy],
    ["is healthy again after enough successes", unhealthy, "ss", 2, 1, healthy],
    ["is not moved by what says nothing", healthy, "uuuu", 1, 1, healthy],
    ["counts on across what says nothing", healthy, "fufuf", 1, 3, { kind: "unhealthy", message: "seen 4" }],
  ])("%s", (_, initial, word, successes, failures, expected) => {
    expect(findingAfter(initial, word, successes, failures)).toEqual(expected);
  });

  const words = fc.string({ unit: fc.constantFrom("s", "f", "u"), maxLength: 30 });
  const thresholds = fc.integer({ min: 1, max: 4 });
  const initials = fc.constantFrom(pending, healthy, unhealthy);

  test("agrees with looking for the last decisive row of results", () => {
    fc.assert(
      fc.property(initials, words, thresholds, thresholds, (initial, word, successes, failures) => {
        const told = word.replaceAll("u", "");
        const last = (letter: string, length: number) => told.lastIndexOf(letter.repeat(length));
        const [good, bad] = [last("s", successes), last("f", failures)];
        const decided = good > bad ? "healthy" : "unhealthy";
        const expected = good === -1 && bad === -1 ? initial.kind : decided;
        expect(findingAfter(initial, word, successes, failures).kind).toBe(expected);
      }),
    );
  });

  test("does not depend on where the results that say nothing are", () => {
    fc.assert(
      fc.property(initials, words, thresholds, thresholds, (initial, word, successes, failures) => {
        const without = word.replaceAll("u", "");
        expect(findingAfter(initial, word, successes, failures).kind).toBe(
          findingAfter(initial, without, successes, failures).kind,
        );
      }),
    );
  });
});
