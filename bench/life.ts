import { guestOf } from "../test/e2e/support/guest.ts";
import { manifests } from "../test/e2e/support/manifests.ts";
import { startStage } from "../test/e2e/support/stage.ts";
import { measureConsole } from "./console.ts";
import { measureCopies } from "./copies.ts";
import { measureMigration } from "./migration.ts";

const NAME = "life";
/** What a guest has written: enough that copying it takes longer than asking for it. */
const WRITTEN_MIB = 128;

/** One guest on two nodes: what is done to it later in its life, beside the same without Vireo. */
export const measureLife = async (progress: (text: string) => void) => {
  const stage = await startStage({ nodes: 2, program: "bundle" });
  try {
    await stage.applyBasics();
    await stage.apply(manifests.machine(NAME, { terminationGracePeriodSeconds: 0 }));
    await stage.untilStatus(NAME, "Running");
    const guest = await guestOf(stage, NAME);
    await guest.untilBooted();
    await guest.run(
      `dd if=/dev/urandom of=/dev/vda bs=1M seek=512 count=${WRITTEN_MIB} conv=fsync 2>/dev/null`,
    );
    progress("measuring keys on the console and their echo");
    const console = await measureConsole(stage, NAME, guest);
    progress("measuring migrations against virsh migrate");
    const migration = await measureMigration(stage, NAME);
    progress("measuring snapshots and clones against virsh and qemu-img");
    const copies = await measureCopies(stage, NAME);
    return { console, migration, copies };
  } finally {
    await stage.stop();
  }
};
