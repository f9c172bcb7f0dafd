import { ensureBinaries } from "./binaries.ts";
import { ensureGuestImage } from "./guest-images/index.ts";

/** Builds all that tests take from the cache, so that no test waits for a build. */

await ensureBinaries();
await ensureGuestImage("tiny");
await ensureGuestImage("debian");
