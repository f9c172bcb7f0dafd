import { defineConfig } from "oxlint";

/**
 * Imports go one way (docs/architecture.md):
 *
 *   api <- kube <- pki <- controllers, api-server
 *   api, kube, pki, libvirt <- node-agent
 *
 * Rooms of the node agent do not import rooms, and each is entered by its
 * index.ts only. One file, main.ts, wires implementations together.
 */
const rooms = [
  "domains",
  "disks",
  "volumes",
  "cloud-init",
  "links",
  "filters",
  "probes",
  "floating",
  "consoles",
] as const;

const hostOnly = ["node:child_process", "child_process", "node:fs", "node:fs/promises", "fs", "fs/promises"];
const clientOnly = ["@kubernetes/client-node"];

const forbid = (
  files: string[],
  message: string,
  patterns: string[],
  paths: string[] = [...hostOnly, ...clientOnly],
) => ({
  files,
  rules: {
    "no-restricted-imports": [
      "error",
      {
        paths: paths.map((name) => ({ name, message })),
        patterns: patterns.length > 0 ? [{ group: patterns, message }] : [],
      },
    ],
  },
});

const folders = (...names: string[]) => names.flatMap((name) => [`**/${name}/**`, `**/${name}`]);

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "promise", "node", "jest"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  ignorePatterns: ["dist", "node_modules", "coverage"],
  rules: {
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/consistent-type-imports": "error",
    "typescript/return-await": ["error", "error-handling-correctness-only"],
    "import/no-default-export": "error",
    "import/no-cycle": "error",
    "max-lines": ["error", { max: 400, skipBlankLines: true, skipComments: true }],
    "no-console": "error",
    // Awaiting in a loop is how ordered effects are written here.
    "no-await-in-loop": "off",
    // Node's own modules and plain side-effect-free loops read well as they are.
    "unicorn/no-array-sort": "off",
    "no-shadow": "off",
    // tsc knows which switches are exhaustive; this rule does not.
    "typescript/consistent-return": "off",
    "consistent-return": "off",
    "typescript/no-unsafe-type-assertion": "off",
    "import/no-named-as-default-member": "off",
    "no-underscore-dangle": "off",
    "jest/no-conditional-expect": "off",
    "jest/require-to-throw-message": "off",
    "jest/expect-expect": ["error", { assertFunctionNames: ["expect", "expect[A-Z]*"] }],
    "jest/no-disabled-tests": "error",
    "jest/no-focused-tests": "error",
  },
  overrides: [
    forbid(
      ["src/api/**"],
      "src/api imports nothing of Vireo",
      folders("kube", "pki", "libvirt", "controllers", "node-agent", "api-server"),
    ),
    forbid(
      ["src/kube/**"],
      "src/kube imports src/api only",
      folders("pki", "libvirt", "controllers", "node-agent", "api-server"),
      [],
    ),
    forbid(
      ["src/pki/**"],
      "src/pki imports src/api and src/kube only",
      folders("libvirt", "controllers", "node-agent", "api-server"),
    ),
    forbid(
      ["src/libvirt/**"],
      "src/libvirt knows nothing of Vireo and of Kubernetes",
      folders("api", "kube", "pki", "controllers", "node-agent", "api-server"),
    ),
    forbid(
      ["src/controllers/**"],
      "controllers import src/api, src/kube and src/pki only",
      folders("libvirt", "node-agent", "api-server"),
    ),
    forbid(
      ["src/api-server/**"],
      "the api-server imports src/api, src/kube and src/pki only",
      folders("libvirt", "node-agent", "controllers"),
    ),
    forbid(["src/node-agent/*.ts"], "node-agent imports api, kube, libvirt and the doors of its rooms", [
      "**/controllers/**",
      ...rooms.flatMap((room) => [`./${room}/*`, `!./${room}/index.ts`, `!./${room}/types.ts`]),
    ]),
    forbid(
      ["src/node-agent/reconcilers/**"],
      "reconcilers import api, kube, libvirt and the doors of the rooms",
      [
        "**/controllers/**",
        ...rooms.flatMap((room) => [`../../${room}/*`, `!../../${room}/index.ts`, `!../../${room}/types.ts`]),
      ],
    ),
    ...rooms.map((room) =>
      forbid(
        [`src/node-agent/${room}/**`],
        "rooms do not import rooms, nor controllers; effects go through host/",
        [
          "**/controllers/**",
          "**/kube/**",
          ...rooms.filter((other) => other !== room).flatMap((other) => [`**/${other}/**`]),
        ],
      ),
    ),
    forbid(
      ["src/cli/**"],
      "the plugin imports src/api and src/kube only; files and programs go through its host/",
      folders("libvirt", "controllers", "node-agent", "api-server", "pki"),
    ),
    forbid(
      ["src/cli/host/**"],
      "the plugin imports src/api and src/kube only",
      folders("libvirt", "controllers", "node-agent", "api-server", "pki"),
      [...clientOnly],
    ),
    forbid(
      ["src/node-agent/host/**"],
      "host/ knows nothing above it",
      folders("api", "kube", "pki", "libvirt", "controllers"),
      [...clientOnly],
    ),
    {
      files: ["oxlint.config.ts", "jest.config.js", "test/setup/**", "oxfmt.config.ts"],
      rules: { "import/no-default-export": "off", "typescript/no-explicit-any": "off" },
    },
    {
      // A table's helper reads best beside its table, whatever it captures.
      files: ["test/**", "bench/**"],
      rules: {
        "unicorn/consistent-function-scoping": "off",
        "oxc/no-accumulating-spread": "off",
        "promise/no-promise-in-callback": "off",
      },
    },
    { files: ["scripts/**", "test/testbed/**", "bench/**"], rules: { "no-console": "off" } },
  ],
});
