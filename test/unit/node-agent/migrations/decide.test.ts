import { describe, expect, test } from "@jest/globals";
import { type MigrationPhase, migrationPhases } from "../../../../src/api/virtual-machine-migration.ts";
import { decide } from "../../../../src/node-agent/migrations/decide.ts";
import type {
  DomainStanding,
  MigrationFacts,
  MigrationRole,
  MigrationStep,
  SessionState,
} from "../../../../src/node-agent/migrations/types.ts";

const domains: readonly DomainStanding[] = [
  "absent",
  "off",
  "never-ran",
  "running",
  "leaving",
  "left",
  "paused",
];
const sessions: readonly SessionState[] = ["none", "working", "failed"];
const booleans = [false, true] as const;

/** Every state that an agent can find. */
const everything = (role: MigrationRole): readonly MigrationFacts[] =>
  migrationPhases.flatMap((phase) =>
    domains.flatMap((domain) =>
      sessions.flatMap((session) =>
        booleans.flatMap((live) =>
          booleans.flatMap((targetReady) =>
            booleans.flatMap((isGivenUp) =>
              booleans.flatMap((isOwner) =>
                booleans.map((isReleased) => ({
                  role,
                  phase,
                  domain,
                  session,
                  live,
                  targetReady,
                  isGivenUp,
                  isOwner,
                  isReleased,
                })),
              ),
            ),
          ),
        ),
      ),
    ),
  );

const atSource = everything("source");
const atTarget = everything("target");

const usual: MigrationFacts = {
  role: "source",
  phase: "Pending",
  live: true,
  targetReady: true,
  isGivenUp: false,
  session: "none",
  domain: "running",
  isOwner: false,
  isReleased: false,
};

/** Where a step may be taken, whatever else is the case. */
const allowed: Readonly<Record<MigrationStep, readonly `${MigrationRole} ${MigrationPhase}`[]>> = {
  none: [],
  "look-again": ["target Switching"],
  prepare: ["target Preparing"],
  begin: ["source Preparing"],
  refuse: ["source Preparing"],
  "give-up": ["source Copying"],
  "switch-cold": ["target Preparing"],
  succeed: ["target Switching"],
  fail: ["target Switching"],
  confirm: ["source Succeeded"],
  cancel: ["source Failed", "source Cancelled"],
  "cancel-job": ["source Failed", "source Cancelled"],
  resume: ["source Failed", "source Cancelled"],
  "clean-up": ["source Succeeded"],
  discard: ["target Failed", "target Cancelled"],
  release: ["source Succeeded", "target Failed", "target Cancelled"],
};

describe("in every state that there can be", () => {
  const decided = [...atSource, ...atTarget].map((facts) => ({ facts, step: decide(facts) }));

  test("a step is taken by the right end and in the right phase only", () => {
    const wrong = decided.filter(
      ({ facts, step }) =>
        step !== "none" && !allowed[step].some((place) => place === `${facts.role} ${facts.phase}`),
    );
    expect(wrong).toEqual([]);
  });

  test("each step is taken in some", () => {
    expect([...new Set(decided.map(({ step }) => step))].toSorted()).toEqual(Object.keys(allowed).toSorted());
  });

  test("nothing of a machine is removed that belongs to the node by another right", () => {
    const removing = decided.filter(({ step }) => step === "clean-up" || step === "discard");
    expect(removing.every(({ facts }) => !facts.isOwner && !facts.isReleased)).toBe(true);
  });

  test("the source lets nobody go on who may run at the target", () => {
    const resuming = decided.filter(({ step }) => step === "resume" || step === "cancel");
    expect(new Set(resuming.map(({ facts }) => facts.phase))).toEqual(new Set(["Failed", "Cancelled"]));
  });

  test("a guest that has run at the target is never said not to have arrived", () => {
    const failing = decided.filter(({ step }) => step === "fail");
    expect(new Set(failing.map(({ facts }) => facts.domain))).toEqual(new Set(["absent", "never-ran"]));
    expect(failing.every(({ facts }) => facts.live && facts.session !== "working")).toBe(true);
  });
});

test.each<[string, Partial<MigrationFacts>, MigrationStep]>([
  ["the source does nothing before the migration is accepted", { phase: "Pending" }, "none"],
  ["nor without a phase", { phase: undefined }, "none"],
  ["nor before the target is ready", { phase: "Preparing", targetReady: false }, "none"],
  ["it begins then", { phase: "Preparing" }, "begin"],
  ["but not when the migration was deleted", { phase: "Preparing", isGivenUp: true }, "none"],
  ["it refuses to move a guest that has gone off", { phase: "Preparing", domain: "off" }, "refuse"],
  ["it refuses to move a guest that is paused", { phase: "Preparing", domain: "paused" }, "refuse"],
  ["it leaves a guest that is off to the target", { phase: "Preparing", live: false }, "none"],
  ["it lets its work go on", { phase: "Copying", session: "working" }, "none"],
  [
    "it gives up when somebody deletes the migration",
    { phase: "Copying", session: "working", isGivenUp: true },
    "give-up",
  ],
  ["it gives up when the work has failed", { phase: "Copying", session: "failed" }, "give-up"],
  ["a fresh agent gives up what it does not do", { phase: "Copying", domain: "leaving" }, "give-up"],
  ["the source only waits while the target decides", { phase: "Switching", domain: "left" }, "none"],
  ["also when its own session has failed", { phase: "Switching", session: "failed", domain: "left" }, "none"],
  [
    "it confirms when the guest has arrived",
    { phase: "Succeeded", session: "working", domain: "left" },
    "confirm",
  ],
  ["it cleans up afterwards", { phase: "Succeeded", domain: "left" }, "clean-up"],
  ["it cleans up although nothing is left in libvirt", { phase: "Succeeded", domain: "absent" }, "clean-up"],
  ["it keeps a machine that came back", { phase: "Succeeded", isOwner: true }, "release"],
  ["it does so once", { phase: "Succeeded", domain: "running", isReleased: true }, "none"],
  ["it ends its session when the migration failed", { phase: "Failed", session: "working" }, "cancel"],
  ["a fresh agent stops the job", { phase: "Failed", domain: "leaving" }, "cancel-job"],
  ["and lets the guest go on", { phase: "Cancelled", domain: "left" }, "resume"],
  ["but not a guest that somebody has paused", { phase: "Failed", domain: "paused" }, "none"],
  ["nor the job of a later migration", { phase: "Failed", domain: "leaving", isOwner: true }, "none"],
  [
    "nor a guest that may run where that leads",
    { phase: "Cancelled", domain: "left", isOwner: true },
    "none",
  ],
])("%s", (_sentence, facts, step) => {
  expect(decide({ ...usual, ...facts })).toBe(step);
});

test.each<[string, Partial<MigrationFacts>, MigrationStep]>([
  ["the target prepares", { phase: "Preparing", targetReady: false, domain: "absent" }, "prepare"],
  [
    "but not what was deleted",
    { phase: "Preparing", targetReady: false, isGivenUp: true, domain: "absent" },
    "none",
  ],
  ["it then waits for the source", { phase: "Preparing", domain: "absent" }, "none"],
  [
    "it switches by itself when the guest is off",
    { phase: "Preparing", live: false, domain: "absent" },
    "switch-cold",
  ],
  ["it waits while the guest is copied", { phase: "Copying", domain: "paused", session: "working" }, "none"],
  [
    "it waits while libvirt lets the guest go on",
    { phase: "Switching", domain: "paused", session: "working" },
    "none",
  ],
  ["it tells of a guest that runs", { phase: "Switching" }, "succeed"],
  ["it tells of a guest that has run and ended", { phase: "Switching", domain: "off" }, "succeed"],
  ["it tells of a guest that did not arrive", { phase: "Switching", domain: "absent" }, "fail"],
  ["also of one that libvirt gave up", { phase: "Switching", domain: "never-ran" }, "fail"],
  [
    "also when its own session has failed",
    { phase: "Switching", domain: "absent", session: "failed" },
    "fail",
  ],
  [
    "a fresh agent looks again at a guest that arrives",
    { phase: "Switching", domain: "paused" },
    "look-again",
  ],
  [
    "a guest that is off has arrived with its files",
    { phase: "Switching", live: false, domain: "absent" },
    "succeed",
  ],
  ["the machine is an ordinary one afterwards", { phase: "Succeeded" }, "none"],
  ["it removes what it has prepared in vain", { phase: "Failed", domain: "absent" }, "discard"],
  ["also when somebody cancelled", { phase: "Cancelled", domain: "paused" }, "discard"],
  ["but nothing of a machine that is its own", { phase: "Failed", isOwner: true }, "release"],
  ["it does so once", { phase: "Cancelled", domain: "absent", isReleased: true }, "none"],
])("%s", (_sentence, facts, step) => {
  expect(decide({ ...usual, role: "target", ...facts })).toBe(step);
});
