/**
 * An agent that does one thing with a disk, to be killed by a test. Its
 * arguments are the storage, and what to do, as JSON.
 */
import { z } from "zod";
import type { DesiredDisk, DiskRef } from "../../../src/node-agent/volumes/types.ts";
import { advance, openVolumes, options, ready, settled, type Storage } from "./volumes-fixture.ts";

/** What an agent may be told to do. */
export type Task =
  | { readonly kind: "ensure"; readonly want: DesiredDisk }
  | { readonly kind: "merge"; readonly ref: DiskRef }
  | {
      readonly kind: "export";
      readonly imageUid: string;
      readonly disk: DiskRef;
      readonly snapshotUid: string;
    };

const [, , storage, task] = z.tuple([z.string(), z.string(), z.string(), z.string()]).parse(process.argv);
const volumes = openVolumes(JSON.parse(storage) as Storage);
const todo = JSON.parse(task) as Task;
if (todo.kind === "ensure") await ready(volumes, todo.want);
else if (todo.kind === "merge") await advance(volumes, todo.ref);
else await settled(volumes, () => volumes.exports.ensure(todo, options));
await volumes.close();
