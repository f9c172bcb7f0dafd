import { run } from "../programs.ts";

/** The release whose packages guests are made of, whatever the machine runs. */
export const RELEASE = "bookworm";

const TIMEOUT_MS = 20 * 60_000;

/** Unpacks Debian packages, with what they depend on, without running any of their scripts. */
export const unpackDebian = async (packages: readonly string[], target: string): Promise<void> => {
  await run(
    "mmdebstrap",
    ["--quiet", "--variant=extract", `--include=${packages.join(",")}`, RELEASE, target],
    {
      timeoutMs: TIMEOUT_MS,
    },
  );
};

/** Installs a small Debian with the given packages; `hooks` are mmdebstrap's --customize-hook lines. */
export const installDebian = async (
  packages: readonly string[],
  hooks: readonly string[],
  target: string,
): Promise<void> => {
  await run(
    "mmdebstrap",
    [
      "--quiet",
      "--variant=minbase",
      "--dpkgopt=force-unsafe-io",
      // Documentation and translations are for people at a desk.
      '--dpkgopt=path-exclude="/usr/share/doc/*"',
      '--dpkgopt=path-exclude="/usr/share/man/*"',
      '--dpkgopt=path-exclude="/usr/share/locale/*"',
      `--include=${packages.join(",")}`,
      ...hooks.map((hook) => `--customize-hook=${hook}`),
      RELEASE,
      target,
    ],
    { timeoutMs: TIMEOUT_MS },
  );
};
