/**
 * Bundles Vireo into dist/: one file for the program, one for kubectl's plugin,
 * which can be copied to wherever kubectl finds it, one for the libvirt client
 * that others may import as `vireo/libvirt`, and that one's types. A bundle
 * starts in a third of the time and in half of the memory.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build, type BuildOptions } from "esbuild";
import { bundlePlugin, REQUIRE_BANNER } from "./plugin.ts";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");

const common: BuildOptions = {
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  sourcemap: "linked",
  legalComments: "linked",
  logLevel: "warning",
  banner: { js: REQUIRE_BANNER },
};

rmSync(dist, { recursive: true, force: true });
const program = join(dist, "vireo.js");
await build({
  ...common,
  entryPoints: [join(root, "src/main.ts")],
  outfile: program,
  banner: { js: `#!/usr/bin/env node\n${REQUIRE_BANNER}` },
});
chmodSync(program, 0o755);
await bundlePlugin(join(dist, "kubectl-vireo"));
await build({
  ...common,
  entryPoints: [join(root, "src/libvirt/index.ts")],
  outfile: join(dist, "libvirt.js"),
});

const compiler = join(root, "node_modules/typescript/bin/tsc");
const project = join(root, "tsconfig.libvirt.json");
execFileSync(process.execPath, [compiler, "--project", project, "--outDir", join(dist, "types")], {
  stdio: "inherit",
});
