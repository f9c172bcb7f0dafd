import type { Command } from "../command.ts";
import { clone } from "./clone.ts";
import { createVm } from "./create-vm.ts";
import { pause, restart, start, stop, unpause } from "./power.ts";
import { resize } from "./resize.ts";
import { restore, snapshot } from "./snapshots.ts";

/** Every command, in the order of the first page of help. */
export const commands: readonly Command[] = [
  createVm,
  start,
  stop,
  restart,
  pause,
  unpause,
  resize,
  snapshot,
  restore,
  clone,
];
