/**
 * Bundles Vireo into dist/: one file for the program, one for kubectl's plugin,
 * which can be copied to wherever kubectl finds it, one for the libvirt client
 * that others may import as `vireo/libvirt`, and that one's types. A bundle
 * starts in a third of the time and in half of the memory.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build, type BuildOptions } from "esbuild";
import { bundleViewerScript } from "./viewer-script.ts";

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
  // Dependencies in CommonJS call require(), which an ES module does not have.
  banner: {
    js: 'import { createRequire as vireoCreateRequire } from "node:module"; const require = vireoCreateRequire(import.meta.url);',
  },
};

rmSync(dist, { recursive: true, force: true });
const program = join(dist, "vireo.js");
await build({
  ...common,
  entryPoints: [join(root, "src/main.ts")],
  outfile: program,
  banner: { js: `#!/usr/bin/env node\n${common.banner?.["js"] ?? ""}` },
});
chmodSync(program, 0o755);
const plugin = join(dist, "kubectl-vireo");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly version: string;
};
await build({
  ...common,
  entryPoints: [join(root, "src/cli/main.ts")],
  outfile: plugin,
  banner: { js: `#!/usr/bin/env node\n${common.banner?.["js"] ?? ""}` },
  define: {
    VIREO_VERSION: JSON.stringify(version),
    VIREO_VIEWER_SCRIPT: JSON.stringify(await bundleViewerScript()),
  },
  // One file, nothing beside it.
  sourcemap: false,
  legalComments: "eof",
  minify: true,
  keepNames: true,
});
chmodSync(plugin, 0o755);
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
