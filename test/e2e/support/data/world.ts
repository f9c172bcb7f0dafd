import type { Operation, World } from "./plan.ts";

/** The world after an operation that has succeeded. */
export const afterwards = (world: World, operation: Operation, name: string): World => {
  const changeVolume = (volume: string, change: Partial<World["volumes"][number]>): World => ({
    ...world,
    volumes: world.volumes.map((each) => (each.name === volume ? { ...each, ...change } : each)),
  });
  switch (operation.kind) {
    case "snapshot": {
      const volumes = world.volumes.filter(({ attached }) => attached).map((volume) => volume.name);
      return { ...world, snapshots: [...world.snapshots, { name, memory: operation.memory, volumes }] };
    }
    case "deleteSnapshot":
      return { ...world, snapshots: world.snapshots.filter((each) => each.name !== operation.snapshot) };
    case "attach":
      return changeVolume(operation.volume, { attached: true });
    case "detach":
      return changeVolume(operation.volume, { attached: false });
    case "grow":
      return changeVolume(operation.volume, { sizeMiB: operation.sizeMiB });
    case "resize":
      return { ...world, vcpus: operation.vcpus, memoryMiB: operation.memoryMiB };
    case "migrate":
      return { ...world, nodeName: operation.targetNode };
    case "restore":
      return world;
  }
};
