import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { buildOnce } from "./cache.ts";
import { printProgress } from "./progress.ts";
import { run } from "./programs.ts";

/**
 * The files of libvirt's source in which it describes its protocol and its
 * constants, from the Debian source package: no binary package has them.
 */

/** What is unpacked of the source. */
const WANTED = [
  "*/src/remote/*.x",
  "*/src/rpc/*.x",
  "*/include/libvirt/*.h",
  "*/include/libvirt/*.h.in",
  "*/src/libvirt_internal.h",
];
const APT = "/etc/apt";

/** The same archives as the machine's, asked for sources instead of packages. */
const asSources = (name: string, text: string): string =>
  name.endsWith(".sources")
    ? text.replaceAll(/^Types:.*$/gm, "Types: deb-src")
    : text.replaceAll(/^\s*deb\s/gm, "deb-src ");

const writeSourceLists = async (directory: string): Promise<void> => {
  await mkdir(directory);
  const parts = await readdir(join(APT, "sources.list.d")).catch(() => []);
  const files = ["sources.list", ...parts.map((name) => join("sources.list.d", name))];
  for (const file of files.filter((name) => /\.(list|sources)$/.test(name))) {
    const text = await readFile(join(APT, file), "utf8").catch(() => "");
    const name = file.replaceAll("/", "-");
    await writeFile(join(directory, name), asSources(name, text));
  }
};

/** apt-get that works in `directory`, with lists of its own: the machine's are neither read nor written. */
const aptGet = async (directory: string, ...args: readonly string[]): Promise<void> => {
  const settings = {
    "Dir::Etc::sourcelist": "/dev/null",
    "Dir::Etc::sourceparts": join(directory, "sources"),
    "Dir::State::lists": join(directory, "lists"),
    "Dir::Cache::pkgcache": "",
    "Dir::Cache::srcpkgcache": "",
    "APT::Sandbox::User": "root",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  await run("env", [`--chdir=${directory}`, "apt-get", "--quiet", ...options, ...args], {
    timeoutMs: 300_000,
    // The archives are elsewhere, and the way there may lead through a proxy.
    env: proxySettings(),
  });
};

const proxySettings = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      value !== undefined && /_proxy$/i.test(name) ? [[name, value] as const] : [],
    ),
  );

const build = async (directory: string): Promise<void> => {
  printProgress("fetching libvirt's source from the machine's Debian archive (10 MB)");
  const work = join(directory, "work");
  await mkdir(join(work, "lists/partial"), { recursive: true });
  await writeSourceLists(join(work, "sources"));
  await aptGet(work, "update");
  await aptGet(work, "source", "--download-only", "libvirt");
  const archive = (await readdir(work)).find((name) => /^libvirt_.*\.orig\.tar\.\w+$/.test(name));
  if (archive === undefined) throw new Error("apt-get fetched no libvirt_*.orig.tar of the source package");
  const unpack = ["--extract", "--file", join(work, archive), "--directory", directory];
  await run("tar", [...unpack, "--strip-components=1", "--wildcards", ...WANTED]);
  await rm(work, { recursive: true });
};

/**
 * Resolves with a directory that has the wanted files of the libvirt that the
 * machine's archive offers, below src/ and include/. It is fetched once for
 * each version of libvirt that this machine has installed.
 */
export const libvirtSource = async (): Promise<string> => {
  const version = await run("dpkg-query", ["--show", "--showformat=${source:Version}", "libvirt0"]);
  return buildOnce(`libvirt-source-${version.replaceAll(/[^\w.+~-]/g, "_")}`, build);
};
