import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { bundleViewerScript } from "./viewer-script.ts";

const root = join(import.meta.dirname, "..");

/** Dependencies in CommonJS call require(), which an ES module does not have. */
export const REQUIRE_BANNER =
  'import { createRequire as vireoCreateRequire } from "node:module"; const require = vireoCreateRequire(import.meta.url);';

/**
 * Bundles kubectl's plugin, noVNC and all, into one executable file with
 * nothing beside it, so that it can be copied to wherever kubectl finds it.
 */
export const bundlePlugin = async (outfile: string): Promise<void> => {
  const description: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { version } = description as { readonly version: string };
  await build({
    entryPoints: [join(root, "src/cli/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    minify: true,
    // Errors keep their names.
    keepNames: true,
    legalComments: "eof",
    logLevel: "warning",
    banner: { js: `#!/usr/bin/env node\n${REQUIRE_BANNER}` },
    define: {
      VIREO_VERSION: JSON.stringify(version),
      VIREO_VIEWER_SCRIPT: JSON.stringify(await bundleViewerScript()),
    },
  });
  chmodSync(outfile, 0o755);
};
