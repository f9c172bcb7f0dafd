import { waitFor } from "../../testbed/wait.ts";
import type { Guest } from "./guest.ts";

const FILES = 48;
const DIRECTORY = "/root/diary";
const MEMORY = "/tmp/memory";

/**
 * A guest that writes all the time, and knows what it has written: files on its
 * disk, each with its SHA-256 beside it, and a large one in its memory.
 */
export const diaryOf = (guest: () => Guest) => ({
  /** Begins, or goes on after `check`. */
  write: async (): Promise<void> => {
    await guest().run(
      `mkdir -p ${DIRECTORY}; cd ${DIRECTORY}; rm -f /tmp/enough; ` +
        `[ -e ${MEMORY} ] || { head -c 8388608 /dev/urandom >${MEMORY}; sha256sum ${MEMORY} >${MEMORY}.sum; }; ` +
        `(n=0; while [ ! -e /tmp/enough ]; do n=$(((n + 1) % ${FILES})); ` +
        `head -c 65536 /dev/urandom >$n; sha256sum $n >$n.sum; echo x >>/tmp/entries; done; ` +
        `sync; echo done >/tmp/enough) >/dev/null 2>&1 &`,
    );
  },
  /** Stops writing, and reads everything again, from the disk. Resolves with what is wrong, empty when nothing is. */
  check: async (): Promise<string> => {
    await guest().run("touch /tmp/enough");
    await waitFor("the diary to be closed", async () => (await guest().run("cat /tmp/enough")) === "done\n", {
      timeoutMs: 60_000,
    });
    return guest().run(
      `cd ${DIRECTORY}; echo 3 >/proc/sys/vm/drop_caches; [ -e 1.sum ] || echo nothing was written; ` +
        `cat *.sum ${MEMORY}.sum | sha256sum -c 2>&1 | grep -v ': OK$'; true`,
    );
  },
  /** How many entries it has made. */
  entries: async (): Promise<number> => Number(await guest().run("wc -l </tmp/entries")),
});
