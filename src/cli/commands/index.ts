import type { Command } from "../command.ts";
import { clone } from "./clone.ts";
import { completion } from "./completion.ts";
import { consoleCommand } from "./console.ts";
import { createVm } from "./create-vm.ts";
import { eventsCommand } from "./events.ts";
import { portForward } from "./port-forward.ts";
import { migrate } from "./migrate.ts";
import { pause, restart, start, stop, unpause } from "./power.ts";
import { reportCommand } from "./report.ts";
import { resize } from "./resize.ts";
import { log, screenshot } from "./screen.ts";
import { restore, snapshot } from "./snapshots.ts";
import { scp, ssh } from "./ssh.ts";
import { top } from "./top.ts";
import { vnc } from "./vnc.ts";

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
  migrate,
  consoleCommand,
  vnc,
  ssh,
  scp,
  portForward,
  log,
  screenshot,
  eventsCommand,
  top,
  reportCommand,
  completion,
];
