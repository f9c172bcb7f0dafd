import type { MigrationPhase } from "../../../../src/api/virtual-machine-migration.ts";
import { decide } from "../../../../src/node-agent/migrations/decide.ts";
import type {
  DomainStanding,
  MigrationRole,
  MigrationStep,
  SessionState,
} from "../../../../src/node-agent/migrations/types.ts";

/**
 * Two nodes, an API server and a controller, as far as a live migration is
 * concerned, with everything that libvirt does by itself when somebody
 * disappears (docs/design/libvirt.md). Each action is one thing that happens at
 * one moment; tests order them as they like.
 */

interface Stored {
  readonly phase: MigrationPhase;
  readonly version: number;
  readonly isDeleted: boolean;
  readonly targetReady: boolean;
}

/** How far the source's own work is. */
type Journey = "ask-to-prepare" | "perform" | "performing" | "ask-to-finish" | "waiting";

const FINISHED: ReadonlySet<MigrationPhase> = new Set(["Succeeded", "Failed", "Cancelled"]);

export class World {
  stored: Stored = { phase: "Preparing", version: 1, isDeleted: false, targetReady: false };
  nodeName: MigrationRole = "source";
  hasStopped = false;
  readonly #seen: Record<MigrationRole, Stored> = { source: this.stored, target: this.stored };
  readonly #messages = new Set<"prepare" | "finish">();
  /** The source's domain. */
  #at: DomainStanding = "running";
  /** The target's; paused: it waits for its memory. */
  #there: DomainStanding = "absent";
  #hasMemory = false;
  #source: { state: SessionState; journey: Journey } = { state: "none", journey: "ask-to-prepare" };
  #target: SessionState = "none";
  #isFinishing = false;

  /** Where the guest runs at this moment. */
  running(): readonly MigrationRole[] {
    return [
      ...(this.#at === "running" || this.#at === "leaving" ? (["source"] as const) : []),
      ...(this.#there === "running" ? (["target"] as const) : []),
    ];
  }

  isQuiet(): boolean {
    return FINISHED.has(this.stored.phase);
  }

  readonly actions = {
    watchSource: (): void => this.#watch("source"),
    watchTarget: (): void => this.#watch("target"),
    passSource: (): void => this.#take("source"),
    passTarget: (): void => this.#take("target"),
    goOn: (): void => this.#goOn(),
    libvirtMoves: (): void => this.#libvirtMoves(),
    deliver: (): void => this.#deliver(),
    finish: (): void => this.#finish(),
    loseMessage: (): void => this.#loseMessage(),
    killSourceAgent: (): void => this.#killSourceAgent(),
    killTargetAgent: (): void => this.#killTargetAgent(false),
    killTargetAgentLate: (): void => this.#killTargetAgent(true),
    killSourceLibvirt: (): void => this.#killSourceLibvirt(),
    killTargetLibvirt: (): void => this.#killTargetLibvirt(),
    controllerMoves: (): void => this.#controllerMoves(),
    controllerGivesUp: (): void => {
      if (this.stored.phase === "Preparing") this.#write({ phase: "Failed" });
    },
    userDeletes: (): void => this.#write({ isDeleted: true }),
    guestStops: (): void => this.#guestStops(),
  } as const;

  /** Everything that happens without anybody's fault, until nothing happens any more. */
  settle(): void {
    const { watchSource, watchTarget, passSource, passTarget, goOn } = this.actions;
    const { libvirtMoves, deliver, finish, controllerMoves } = this.actions;
    const all = [watchSource, watchTarget, passSource, passTarget, goOn, libvirtMoves, deliver, finish];
    for (let round = 0; round < 60; round += 1) for (const act of [...all, controllerMoves]) act();
  }

  #watch(role: MigrationRole): void {
    this.#seen[role] = this.stored;
  }

  #write(change: Partial<Stored>): void {
    this.stored = { ...this.stored, ...change, version: this.stored.version + 1 };
  }

  /** Compare-and-swap, from what that end has seen. */
  #swap(role: MigrationRole, change: Partial<Stored>): boolean {
    if (this.#seen[role].version !== this.stored.version) return false;
    this.#write(change);
    this.#watch(role);
    return true;
  }

  #factsOf(role: MigrationRole) {
    const { phase, targetReady, isDeleted } = this.#seen[role];
    return {
      role,
      phase,
      live: true,
      targetReady,
      isGivenUp: isDeleted,
      session: role === "source" ? this.#source.state : this.#target,
      domain: role === "source" ? this.#at : this.#there,
      // There is one migration only.
      isOwner: false,
      isReleased: false,
    };
  }

  #take(role: MigrationRole): void {
    const step = decide(this.#factsOf(role));
    const takers: Partial<Record<MigrationStep, () => void>> = {
      prepare: () => this.#swap("target", { targetReady: true }),
      begin: () => {
        if (this.#swap("source", { phase: "Copying" }))
          this.#source = { state: "working", journey: "ask-to-prepare" };
      },
      refuse: () => this.#swap("source", { phase: "Failed" }),
      "give-up": () => {
        const { isDeleted } = this.#seen.source;
        this.#swap("source", { phase: isDeleted ? "Cancelled" : "Failed" });
      },
      succeed: () => this.#swap("target", { phase: "Succeeded" }),
      fail: () => this.#swap("target", { phase: "Failed" }),
      confirm: () => {
        this.#endSession();
        this.#at = "absent";
      },
      cancel: () => {
        this.#endSession();
        if (this.#at === "left" || this.#at === "leaving") this.#at = "running";
      },
      "cancel-job": () => {
        if (this.#at === "leaving") this.#at = "running";
      },
      resume: () => {
        if (this.#at === "left") this.#at = "running";
      },
      "clean-up": () => {
        this.#at = "absent";
      },
      discard: () => {
        this.#target = "none";
        this.#loseIncoming();
      },
    };
    takers[step]?.();
  }

  #endSession(): void {
    this.#source = { state: "none", journey: "ask-to-prepare" };
  }

  /** The source's own work, one step of it. */
  #goOn(): void {
    const session = this.#source;
    if (session.state !== "working") return;
    if (session.journey === "ask-to-prepare") this.#messages.add("prepare");
    else if (session.journey === "perform") {
      if (this.#at !== "running") session.state = "failed";
      else {
        this.#at = "leaving";
        session.journey = "performing";
      }
    } else if (session.journey === "ask-to-finish") {
      this.#messages.add("finish");
      session.journey = "waiting";
    }
  }

  /** The data have arrived, or cannot. */
  #libvirtMoves(): void {
    if (this.#at !== "leaving") return;
    const isCarried = this.#source.state === "working" && this.#source.journey === "performing";
    if (isCarried && this.#there === "paused") {
      this.#at = "left";
      this.#hasMemory = true;
      this.#source.journey = "ask-to-finish";
      return;
    }
    this.#at = "running";
    if (this.#source.state === "working") this.#source.state = "failed";
  }

  /** The target's server answers; it reads the object anew each time. */
  #deliver(): void {
    const [message] = this.#messages;
    if (message === undefined) return;
    this.#messages.delete(message);
    this.#watch("target");
    if (message === "prepare") this.#arrive();
    else if (this.#target === "working" && this.#hasMemory && this.stored.phase === "Copying")
      this.#isFinishing = this.#swap("target", { phase: "Switching" });
    else if (this.#source.state === "working") this.#source.state = "failed";
  }

  #arrive(): void {
    const { source } = this.#seen;
    if (this.stored.phase !== "Copying" || source.phase !== "Copying") return;
    if (this.#source.state !== "working" || this.#source.journey !== "ask-to-prepare") return;
    if (this.#there !== "absent") {
      this.#source.state = "failed";
      return;
    }
    this.#there = "paused";
    this.#target = "working";
    this.#source.journey = "perform";
  }

  #finish(): void {
    if (!this.#isFinishing) return;
    this.#isFinishing = false;
    this.#target = "none";
    if (this.#there === "paused" && this.#hasMemory) this.#there = "running";
  }

  #loseIncoming(): void {
    if (this.#there === "paused") this.#there = "absent";
    this.#hasMemory = false;
    this.#isFinishing = false;
  }

  /** What it carried breaks, and libvirt notices that its connection has gone. */
  #killSourceAgent(): void {
    this.#endSession();
    this.#messages.clear();
  }

  #killTargetAgent(isLate: boolean): void {
    this.#target = "none";
    this.#loseMessage();
    if (isLate && this.#isFinishing && this.#there === "paused") this.#there = "running";
    this.#loseIncoming();
  }

  #killSourceLibvirt(): void {
    if (this.#at === "leaving") this.#at = "running";
    if (this.#source.state === "working") this.#source.state = "failed";
  }

  #killTargetLibvirt(): void {
    this.#target = this.#target === "working" ? "failed" : this.#target;
    this.#loseIncoming();
  }

  /** Who asked notices that no answer comes. */
  #loseMessage(): void {
    if (this.#messages.size > 0 && this.#source.state === "working") this.#source.state = "failed";
    this.#messages.clear();
  }

  #controllerMoves(): void {
    if (this.stored.phase === "Preparing" && this.stored.isDeleted) this.#write({ phase: "Cancelled" });
    const { phase } = this.stored;
    this.nodeName = phase === "Switching" || phase === "Succeeded" ? "target" : "source";
  }

  #guestStops(): void {
    const [where] = this.running();
    if (where === undefined) return;
    this.hasStopped = true;
    if (where === "target") this.#there = "off";
    else {
      this.#at = "off";
      if (this.#source.state === "working") this.#source.state = "failed";
    }
  }
}
