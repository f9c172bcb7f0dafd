import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");

/**
 * The program of the page that shows a guest's screen, noVNC included, as one
 * ES module for browsers. noVNC is under the MPL: whoever gets it is told so,
 * and where its source is.
 */
export const bundleViewerScript = async (): Promise<string> => {
  const entry = createRequire(import.meta.url).resolve("@novnc/novnc");
  const description: unknown = JSON.parse(await readFile(join(entry, "../../package.json"), "utf8"));
  const { version } = description as { readonly version: string };
  const { outputFiles } = await build({
    entryPoints: [join(root, "src/cli/vnc/browser/page.js")],
    bundle: true,
    minify: true,
    write: false,
    platform: "browser",
    // noVNC awaits at its top what the browser can decode.
    format: "esm",
    target: "es2022",
    legalComments: "inline",
    banner: {
      js: `/*! noVNC ${version}, (C) the noVNC authors, Mozilla Public License 2.0; its source is the npm package @novnc/novnc@${version}. It contains pako (MIT and zlib licences). */`,
    },
    logLevel: "warning",
  });
  return outputFiles[0]?.text ?? "";
};
