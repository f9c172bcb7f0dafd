import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import { decideHypervisor } from "../../../src/controllers/hypervisor/decide.ts";
import { isFenced, isTaken } from "../../../src/controllers/hypervisor/fencing.ts";
import { lookAtHeartbeat, type Sighting } from "../../../src/controllers/hypervisor/heartbeat.ts";
import { isLost } from "../../../src/controllers/hypervisor/status.ts";
import type { Lease } from "../../../src/kube/index.ts";
import { isStale, mayKeepAlive } from "../../../src/node-agent/reconcilers/hypervisor/self-fencing.ts";
import { refusalOfStart } from "../../../src/node-agent/reconcilers/machine/start-permit.ts";
import { hypervisorWith, NOW, readyCondition, uidOf } from "./objects.ts";

/** What node-1 promises when it has a watchdog. */
const own = { graceSeconds: 40, timeoutSeconds: 60 };
const HOME = "node-1";

interface Machine {
  readonly version: number;
  readonly nodeName: string;
  readonly saysLost: boolean;
}

interface Node {
  readonly version: number;
  readonly lost: boolean;
  readonly fenced: string | undefined;
  readonly outOfService: boolean;
  readonly selfFencing: typeof own | undefined;
}

interface Renewals {
  readonly version: number;
  readonly count: number;
  readonly taken: boolean;
}

/** All that the API server has. */
interface Stored {
  readonly machine: Machine;
  readonly node: Node;
  readonly lease: Renewals;
}

/** One process of the agent. */
interface Agent {
  readonly hasDevice: boolean;
  /** Said at its start that the node is off; a level that only gets better. */
  readonly sawOutOfService: boolean;
  isPrepared: boolean;
  isWorking: boolean;
  beat: { readonly startedAt: number; readonly isCarriedOut: boolean } | undefined;
  acknowledgedAt: number | undefined;
  mayFeed: boolean;
  sinceHeartbeatMs: number | undefined;
  mayStart: boolean;
  view: Machine | undefined;
}

const leaseOf = ({ count, taken }: Renewals): Lease => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: {
    name: HOME,
    namespace: "vireo-system",
    uid: uidOf("lease"),
    resourceVersion: "1",
    creationTimestamp: "2026-01-01T00:00:00Z",
  },
  spec: {
    renewTime: `t${count}`,
    leaseDurationSeconds: 40,
    ...(taken && { holderIdentity: "vireo.dev/fenced" }),
  },
});

const hypervisorOf = ({ lost, fenced, outOfService, selfFencing }: Node): Hypervisor => {
  const ready = lost ? readyCondition("Unknown", "HeartbeatLost") : readyCondition("True", "AgentReady");
  const said = fenced === undefined ? [] : [{ ...readyCondition("True", fenced), type: "Fenced" }];
  return hypervisorWith(
    { conditions: [ready, ...said], ...(selfFencing && { selfFencing }) },
    {},
    { outOfService },
  );
};

/**
 * A node, its agent, a person, the controller and the API server, with the real
 * decisions of agent and controller. Whatever takes time in the product is split
 * here wherever something else can happen in between; what takes no time goes
 * together. Wherever the machine is said to be on the other node it runs there
 * at once.
 */
export class FencingWorld {
  /** ms, as nobody's clock shows it. */
  now = 0;
  stored: Stored = {
    machine: { version: 1, nodeName: HOME, saysLost: false },
    node: { version: 1, lost: false, fenced: undefined, outOfService: false, selfFencing: undefined },
    lease: { version: 1, count: 0, taken: false },
  };
  isOn = true;
  isConnected = true;
  guestRuns = false;
  /** When the watchdog was last kept alive; undefined while it does not run. */
  fedAt: number | undefined;
  resets = 0;
  agent: Agent | undefined;
  /** What the controller's stores show. */
  seen: Stored = this.stored;
  sighting: Sighting | undefined;
  taking: { readonly version: number; readonly isRead: boolean } | undefined;
  evacuating: { readonly version: number; readonly isConfirmed: boolean } | undefined;
  readonly rate: number;

  /** @param rate how fast the agent's clock runs against the controller's */
  constructor(rate = 1) {
    this.rate = rate;
  }

  /** The guest runs here, and where the machine's status says that it is. */
  get isTwice(): boolean {
    return this.guestRuns && this.stored.machine.nodeName !== HOME;
  }

  pass(ms: number): void {
    // Second by second, since the watchdog waits for nobody.
    for (let left = ms; left > 0; left -= 1000) {
      this.now += Math.min(left, 1000);
      if (this.fedAt !== undefined && this.now - this.fedAt >= own.timeoutSeconds * 1000) {
        this.resets += 1;
        this.#lose();
      }
    }
  }

  /** On the agent's own clock. */
  get #agentNow(): number {
    return this.now * this.rate;
  }

  #lose(): void {
    this.fedAt = undefined;
    this.guestRuns = false;
    this.agent = undefined;
  }

  #write<Kind extends keyof Stored>(kind: Kind, change: Partial<Stored[Kind]>): void {
    const before = this.stored[kind];
    this.stored = { ...this.stored, [kind]: { ...before, ...change, version: before.version + 1 } };
  }

  /** With an agent that is there, and whose node reaches the API server. */
  #online(act: (agent: Agent) => void): void {
    if (this.agent !== undefined && this.isConnected) act(this.agent);
  }

  #begin(hasDevice: boolean): void {
    if (!this.isOn || this.agent !== undefined) return;
    this.agent = {
      hasDevice,
      sawOutOfService: this.stored.node.outOfService,
      isPrepared: false,
      isWorking: false,
      beat: undefined,
      acknowledgedAt: undefined,
      mayFeed: false,
      sinceHeartbeatMs: undefined,
      mayStart: false,
      view: undefined,
    };
  }

  #since({ acknowledgedAt }: Agent): number | undefined {
    return acknowledgedAt === undefined ? undefined : this.#agentNow - acknowledgedAt;
  }

  readonly actions = {
    networkBreaks: (): void => void (this.isConnected = false),
    networkHeals: (): void => void (this.isConnected = true),
    powerOff: (): void => {
      this.isOn = false;
      this.#lose();
    },
    powerOn: (): void => void (this.isOn = true),
    guestEnds: (): void => void (this.guestRuns = false),
    /** Nobody says so of a node that is on. */
    personSaysOff: (): void => {
      if (!this.isOn) this.#write("node", { outOfService: true });
    },
    personTakesBack: (): void => this.#write("node", { outOfService: false }),

    agentBeginsWithDevice: (): void => this.#begin(true),
    agentBeginsWithout: (): void => this.#begin(false),
    agentDies: (): void => void (this.agent = undefined),
    agentEnds: (): void =>
      this.#online((agent) => {
        if (!agent.isWorking) return;
        if (agent.hasDevice) {
          this.#write("node", { selfFencing: undefined });
          this.fedAt = undefined;
        }
        this.agent = undefined;
      }),
    agentPrepares: (): void =>
      this.#online((agent) => {
        const word = agent.hasDevice ? own : undefined;
        if (isStale(this.stored.node.selfFencing, word)) this.#write("node", { selfFencing: undefined });
        agent.isPrepared = true;
      }),
    agentBeats: (): void => {
      if (this.agent?.isPrepared === true)
        this.agent.beat = { startedAt: this.#agentNow, isCarriedOut: false };
    },
    beatIsCarriedOut: (): void =>
      this.#online((agent) => {
        if (agent.beat === undefined || agent.beat.isCarriedOut) return;
        this.#write("lease", { count: this.stored.lease.count + 1, taken: false });
        agent.beat = { ...agent.beat, isCarriedOut: true };
      }),
    beatIsAcknowledged: (): void =>
      this.#online((agent) => {
        if (agent.beat?.isCarriedOut !== true) return;
        agent.acknowledgedAt = agent.beat.startedAt;
        agent.beat = undefined;
      }),
    agentArms: (): void => {
      const { agent } = this;
      if (agent?.isPrepared !== true || !mayKeepAlive(this.#since(agent), own.graceSeconds * 1000)) return;
      if (agent.hasDevice) this.fedAt = this.now;
      agent.isWorking = true;
    },
    agentReports: (): void =>
      this.#online((agent) => {
        if (agent.isWorking)
          this.#write("node", { lost: false, selfFencing: agent.hasDevice ? own : undefined });
      }),
    agentMayFeed: (): void => {
      const { agent } = this;
      if (agent?.isWorking === true && agent.hasDevice)
        agent.mayFeed = mayKeepAlive(this.#since(agent), own.graceSeconds * 1000);
    },
    agentFeeds: (): void => {
      if (this.agent?.mayFeed !== true) return;
      this.fedAt = this.now;
      this.agent.mayFeed = false;
    },
    agentLooks: (): void =>
      this.#online((agent) => {
        agent.view = this.stored.machine;
      }),
    agentTakesBack: (): void =>
      this.#online(({ view, isWorking }) => {
        if (!isWorking || view?.saysLost !== true || view.nodeName !== HOME) return;
        if (view.version === this.stored.machine.version) this.#write("machine", { saysLost: false });
      }),
    agentWantsToStart: (): void => {
      const { agent } = this;
      if (agent?.isWorking === true) agent.sinceHeartbeatMs = this.#since(agent);
    },
    agentConfirms: (): void =>
      this.#online((agent) => {
        const { nodeName, saysLost } = this.stored.machine;
        const conditions = [readyCondition(saysLost ? "Unknown" : "False", "Because")];
        const refusal = refusalOfStart({
          nodeName: HOME,
          sinceHeartbeatMs: agent.sinceHeartbeatMs,
          limitMs: own.graceSeconds * 1000,
          isOutOfService: agent.sawOutOfService && this.stored.node.outOfService,
          machine: { status: { nodeName, conditions } },
        });
        agent.mayStart = refusal === undefined;
      }),
    agentStarts: (): void => {
      if (this.agent?.mayStart !== true) return;
      this.agent.mayStart = false;
      this.guestRuns = true;
    },

    controllerBegins: (): void => {
      this.sighting = undefined;
      this.seen = this.stored;
    },
    controllerSees: (): void => void (this.seen = this.stored),
    controllerJudgesNode: (): void => this.#judgeNode(),
    controllerReadsLease: (): void => {
      if (this.taking === undefined || this.taking.isRead) return;
      const { node, lease } = this.stored;
      const isGround = node.outOfService || node.selfFencing !== undefined;
      const isSame = `t${lease.count}` === this.sighting?.renewTime;
      this.taking = isGround && isSame ? { version: lease.version, isRead: true } : undefined;
    },
    controllerTakesLease: (): void => {
      const { taking } = this;
      if (taking?.isRead !== true) return;
      if (taking.version === this.stored.lease.version) this.#write("lease", { taken: true });
      this.taking = undefined;
    },
    controllerJudgesMachine: (): void => {
      const { machine, node } = this.seen;
      if (machine.nodeName !== HOME || !isLost(hypervisorOf(node))) return;
      if (!machine.saysLost) {
        if (machine.version === this.stored.machine.version) this.#write("machine", { saysLost: true });
      } else if (isFenced(hypervisorOf(node)))
        this.evacuating = { version: machine.version, isConfirmed: false };
    },
    controllerConfirms: (): void => {
      if (this.evacuating !== undefined)
        this.evacuating = isTaken(leaseOf(this.stored.lease))
          ? { ...this.evacuating, isConfirmed: true }
          : undefined;
    },
    controllerEvacuates: (): void => {
      const { evacuating } = this;
      if (evacuating?.isConfirmed !== true) return;
      if (evacuating.version === this.stored.machine.version)
        this.#write("machine", { nodeName: "node-2", saysLost: false });
      this.evacuating = undefined;
    },
  };

  #judgeNode(): void {
    const { node, lease: renewals } = this.seen;
    const [hypervisor, lease] = [hypervisorOf(node), leaseOf(renewals)];
    this.sighting = lookAtHeartbeat({
      lease,
      previous: this.sighting,
      saidLost: node.lost,
      now: this.now,
    });
    const facts = { hypervisor, sighting: this.sighting, lease };
    const decision = decideHypervisor(facts, { wall: NOW, monotonic: this.now });
    const write = (change: Partial<Node>): void => {
      if (node.version === this.stored.node.version) this.#write("node", change);
    };
    switch (decision.kind) {
      case "losing":
        return write({ lost: true });
      case "say-fenced":
        return write({ fenced: decision.conditions[0]?.reason });
      case "lift":
        return write({ fenced: undefined });
      case "fence":
        this.taking = { version: 0, isRead: false };
    }
  }
}
