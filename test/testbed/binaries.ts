import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { buildOnce } from "./cache.ts";
import { run } from "./programs.ts";
import { printProgress, secondsSince } from "./progress.ts";

/** Paths of the programs of the control plane, built from tools/go.mod. */
export interface Binaries {
  readonly etcd: string;
  readonly kubeApiServer: string;
  readonly kubectl: string;
}

/** The version that tools/go.mod pins; a build as a module does not know its own. */
const KUBERNETES_VERSION = "v1.34.4";

const TOOLS = join(import.meta.dirname, "../../tools");
const BUILD_TIMEOUT_MS = 45 * 60_000;

/** Without these the server calls itself v0.0.0-master+$Format:%H$, at which kubectl and Helm choke. */
const kubernetesLinkerFlags = (): string => {
  const [, major = "", minor = ""] = /^v(\d+)\.(\d+)\./.exec(KUBERNETES_VERSION) ?? [];
  const variables = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((path) => [
    `-X ${path}.gitVersion=${KUBERNETES_VERSION}`,
    `-X ${path}.gitMajor=${major}`,
    `-X ${path}.gitMinor=${minor}`,
    `-X ${path}.gitTreeState=clean`,
  ]);
  return ["-s -w", ...variables].join(" ");
};

interface GoBuild {
  readonly label: string;
  readonly output: string;
  readonly linkerFlags: string;
  readonly packages: readonly string[];
}

const builds = (): readonly GoBuild[] => [
  { label: "etcd", output: "etcd", linkerFlags: "-s -w", packages: ["go.etcd.io/etcd/server/v3"] },
  {
    label: `kube-apiserver and kubectl ${KUBERNETES_VERSION}`,
    output: "",
    linkerFlags: kubernetesLinkerFlags(),
    packages: ["k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl"],
  },
];

/** Flags of the go command, kept in one place: other flags are other keys in Go's build cache. */
const goArguments = (build: GoBuild, directory: string): readonly string[] => [
  "-C",
  TOOLS,
  "build",
  "-o",
  join(directory, build.output),
  "-ldflags",
  build.linkerFlags,
  ...build.packages,
];

const goVersion = async (): Promise<string> => {
  try {
    return await run("go", ["version"]);
  } catch (cause) {
    throw new Error(
      "the control plane is built with Go >= 1.24, which was not found on PATH: install it, " +
        "or name the kubeconfig of a cluster in VIREO_TEST_KUBECONFIG",
      { cause },
    );
  }
};

const cacheKey = async (): Promise<string> => {
  const hash = createHash("sha256").update(await goVersion());
  for (const file of ["go.mod", "go.sum"]) hash.update(await readFile(join(TOOLS, file)));
  for (const build of builds()) hash.update(goArguments(build, "").slice(2).join("\n"));
  return hash.digest("hex").slice(0, 16);
};

const buildAll = async (directory: string): Promise<void> => {
  for (const build of builds()) {
    const startedAt = Date.now();
    printProgress(`building ${build.label} from source (minutes the first time)`);
    await run("go", goArguments(build, directory), { timeoutMs: BUILD_TIMEOUT_MS });
    printProgress(`built ${build.label} in ${secondsSince(startedAt)}`);
  }
};

/** Resolves with the control plane's programs, building them into the cache when they are not there. */
export const ensureBinaries = async (): Promise<Binaries> => {
  const directory = await buildOnce(`bin-${await cacheKey()}`, buildAll);
  return {
    etcd: join(directory, "etcd"),
    kubeApiServer: join(directory, "kube-apiserver"),
    kubectl: join(directory, "kubectl"),
  };
};
