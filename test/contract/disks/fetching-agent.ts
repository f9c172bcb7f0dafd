/**
 * An agent that makes one root disk, to be killed by a test. Its arguments are
 * the state directory and the wanted disk as JSON.
 */
import { z } from "zod";
import { openDisks, ready, type RootDisk } from "./disks-fixture.ts";

const [, , stateDirectory, want] = z
  .tuple([z.string(), z.string(), z.string(), z.string()])
  .parse(process.argv);
const disks = await openDisks(stateDirectory);
await ready(disks, JSON.parse(want) as RootDisk);
await disks.close();
