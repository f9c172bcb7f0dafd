import type { Choices } from "../random.ts";
import { ROOT, type Write, slotsIn } from "./blocks.ts";

/** A volume and where it is. */
export interface PlannedVolume {
  readonly name: string;
  readonly sizeMiB: number;
  readonly attached: boolean;
  readonly nodeName: string;
}

export interface PlannedSnapshot {
  readonly name: string;
  readonly memory: boolean;
  /** The volumes in it. */
  readonly volumes: readonly string[];
}

/** What has to be known of the machine to say what can be done next. */
export interface World {
  readonly nodeName: string;
  readonly nodeNames: readonly string[];
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly volumes: readonly PlannedVolume[];
  readonly snapshots: readonly PlannedSnapshot[];
}

export type Operation =
  | { readonly kind: "snapshot"; readonly memory: boolean }
  | { readonly kind: "deleteSnapshot"; readonly snapshot: string }
  | { readonly kind: "restore"; readonly snapshot: string }
  | { readonly kind: "attach"; readonly volume: string }
  | { readonly kind: "detach"; readonly volume: string }
  | { readonly kind: "grow"; readonly volume: string; readonly sizeMiB: number }
  | { readonly kind: "resize"; readonly vcpus: number; readonly memoryMiB: number }
  | { readonly kind: "migrate"; readonly targetNode: string };

export type Victim = "agent" | "other agent" | "controller" | "libvirtd" | "other libvirtd" | "guest";

/** One operation, what the guest writes during it, and who is killed in the middle of it. */
export interface Step {
  readonly operation: Operation;
  readonly writes: readonly Omit<Write, "sequence">[];
  readonly kill?: { readonly victim: Victim; readonly afterMs: number };
}

/** Places of the root disk. */
export const ROOT_SLOTS = 16;
const GROWTH_MIB = 16;
const MAX_VOLUME_MIB = 128;
const MAX_SNAPSHOTS = 4;
const WRITES = 12;
const VCPUS = [1, 2] as const;
const MEMORY_MIB = [128, 192, 256] as const;

const attachedIn = (world: World): readonly PlannedVolume[] =>
  world.volumes.filter(({ attached }) => attached);
const namesOf = (volumes: readonly PlannedVolume[]): readonly string[] => volumes.map(({ name }) => name);

/** All disks go back together, and a guest that goes on from its memory knows no others. */
const canRestore = (world: World, { memory, volumes }: PlannedSnapshot): boolean => {
  const attached = namesOf(attachedIn(world));
  return volumes.every((name) => attached.includes(name)) && (!memory || volumes.length === attached.length);
};

/** Every operation of each kind that is possible now. */
const possible: { readonly [K in Operation["kind"]]: (world: World) => readonly Operation[] } = {
  snapshot: ({ snapshots }) =>
    snapshots.length < MAX_SNAPSHOTS ? [true, false].map((memory) => ({ kind: "snapshot", memory })) : [],
  deleteSnapshot: ({ snapshots }) =>
    snapshots.map(({ name }) => ({ kind: "deleteSnapshot", snapshot: name })),
  restore: (world) =>
    world.snapshots
      .filter((snapshot) => canRestore(world, snapshot))
      .map(({ name }) => ({ kind: "restore", snapshot: name })),
  // A volume that was left on another node waits for the machine to come back.
  attach: ({ volumes, nodeName }) =>
    volumes
      .filter((volume) => !volume.attached && volume.nodeName === nodeName)
      .map(({ name }) => ({ kind: "attach", volume: name })),
  detach: (world) => attachedIn(world).map(({ name }) => ({ kind: "detach", volume: name })),
  grow: ({ volumes }) =>
    volumes
      .filter(({ sizeMiB }) => sizeMiB < MAX_VOLUME_MIB)
      .map(({ name, sizeMiB }) => ({ kind: "grow", volume: name, sizeMiB: sizeMiB + GROWTH_MIB })),
  resize: (world) =>
    VCPUS.flatMap((vcpus) =>
      MEMORY_MIB.map((memoryMiB) => ({ kind: "resize" as const, vcpus, memoryMiB })),
    ).filter(({ vcpus, memoryMiB }) => vcpus !== world.vcpus || memoryMiB !== world.memoryMiB),
  migrate: ({ nodeNames, nodeName }) =>
    nodeNames.filter((name) => name !== nodeName).map((targetNode) => ({ kind: "migrate", targetNode })),
};

/** How often each comes, as cards in a pack: chance decides the order, and none stays away. */
const cardsOf = <T extends string>(counts: Readonly<Record<T, number>>): readonly T[] =>
  (Object.keys(counts) as T[]).flatMap((kind) => Array.from({ length: counts[kind] }, () => kind));

const KINDS = cardsOf<Operation["kind"]>({
  snapshot: 3,
  deleteSnapshot: 2,
  restore: 2,
  attach: 2,
  detach: 1,
  grow: 1,
  resize: 2,
  migrate: 2,
});
const KILLS = cardsOf<Victim | "nobody">({
  agent: 1,
  "other agent": 1,
  controller: 1,
  libvirtd: 1,
  "other libvirtd": 1,
  guest: 1,
  nobody: 4,
});
/** The kill comes at any moment up to this, which is about as long as the operation takes. */
const DELAY_MS: Partial<Record<Operation["kind"], number>> = { migrate: 5000, restore: 2000 };

/** The first card that will do is taken out; one that will not stays for later. */
const draw = <T>(
  pack: T[],
  cards: readonly T[],
  choices: Choices,
  will: (card: T) => boolean = () => true,
): T => {
  if (!pack.some(will)) pack.push(...cards);
  const candidates = pack.flatMap((card, index) => (will(card) ? [index] : []));
  const [card] = pack.splice(choices.oneOf(candidates), 1);
  // A pack that was filled up has every card.
  return card as T;
};

/** The disks that the guest can write whatever the operation does, with the number of their places. */
const writableDuring = (operation: Operation, world: World): readonly { disk: string; slots: number }[] => {
  const kept =
    operation.kind === "restore"
      ? (world.snapshots.find(({ name }) => name === operation.snapshot)?.volumes ?? [])
      : namesOf(attachedIn(world));
  const volumes = attachedIn(world).filter(
    ({ name }) => kept.includes(name) && !(operation.kind === "detach" && operation.volume === name),
  );
  return [
    { disk: ROOT, slots: ROOT_SLOTS },
    ...volumes.map(({ name, sizeMiB }) => ({ disk: name, slots: slotsIn(sizeMiB) })),
  ];
};

/** Random steps; the same choices give the same ones as long as the world does. */
export const createPlan = (choices: Choices): { next(world: World): Step } => {
  const kinds: Operation["kind"][] = [];
  const kills: (Victim | "nobody")[] = [];
  return {
    next: (world) => {
      const kind = draw(kinds, KINDS, choices, (candidate) => possible[candidate](world).length > 0);
      const operation = choices.oneOf(possible[kind](world));
      const disks = writableDuring(operation, world);
      const victim = draw(kills, KILLS, choices);
      const writes = Array.from({ length: WRITES }, () => {
        const { disk, slots } = choices.oneOf(disks);
        return { disk, slot: choices.integer(slots) };
      });
      const afterMs = choices.integer(DELAY_MS[kind] ?? 1000);
      return { operation, writes, ...(victim === "nobody" ? {} : { kill: { victim, afterMs } }) };
    },
  };
};
