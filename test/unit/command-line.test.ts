import { describe, expect, test } from "@jest/globals";
import { parseCommandLine, UsageError } from "../../src/command-line.ts";

describe("vireo controller", () => {
  test("needs no flags", () => {
    expect(parseCommandLine(["controller"])).toEqual({
      kind: "controller",
      logLevel: "info",
      config: {
        kubeconfig: undefined,
        leaderElect: true,
        maxParallelMigrations: 5,
        metrics: { host: "127.0.0.1", port: 0 },
      },
    });
  });

  test("takes flags with and without an equals sign", () => {
    const flags = [
      "--kubeconfig",
      "/k",
      "--metrics-address=:9402",
      "--leader-elect=false",
      "--log-level=debug",
    ];
    expect(parseCommandLine(["controller", ...flags])).toEqual({
      kind: "controller",
      logLevel: "debug",
      config: {
        kubeconfig: "/k",
        leaderElect: false,
        maxParallelMigrations: 5,
        metrics: { host: "::", port: 9402 },
      },
    });
  });
});

describe("vireo node-agent", () => {
  test("needs a name and fills in the rest", () => {
    expect(parseCommandLine(["node-agent", "--node-name=node-1"])).toEqual({
      kind: "node-agent",
      logLevel: "info",
      config: {
        kubeconfig: undefined,
        nodeName: "node-1",
        stateDirectory: "/var/lib/vireo",
        importDirectory: undefined,
        storagePools: [],
        libvirtSocket: "/run/libvirt/libvirt-sock",
        zone: undefined,
        nodeLabels: {},
        allowedDownloadNetworks: [],
        nodeAddresses: [],
        tunnelAddress: undefined,
        vxlanPort: 14_789,
        serverAddress: undefined,
        serverPort: 9403,
        floatingInterface: undefined,
        watchdogDevice: undefined,
        watchdogGraceSeconds: 40,
        reservedMemoryMiB: 512,
        imageCacheBytes: undefined,
        metrics: { host: "127.0.0.1", port: 0 },
      },
    });
  });

  test("takes all its flags, and some of them several times", () => {
    const flags = [
      "--node-name=node-1",
      "--state-directory=/state",
      "--import-directory=/import",
      "--storage-pool=fast=/fast",
      "--storage-pool=nfs=/a=b,shared,wipe=zero",
      "--storage-pool=local=/state,wipe=discard",
      "--libvirt-socket=/sock",
      "--zone=north",
      "--node-labels=example.com/disk=fast,gpu=",
      "--allow-download-network=127.0.0.0/8",
      "--allow-download-network=10.0.0.0/8",
      "--node-address=192.0.2.1",
      "--node-address=192.0.2.2",
      "--server-address=192.0.2.3",
      "--server-port=9500",
      "--reserved-memory=1000M",
      "--image-cache=10Gi",
      "--metrics-address=[::1]:9000",
    ];
    expect(parseCommandLine(["node-agent", ...flags])).toMatchObject({
      config: {
        stateDirectory: "/state",
        importDirectory: "/import",
        storagePools: [
          { name: "fast", path: "/fast", shared: false, wipe: "None" },
          { name: "nfs", path: "/a=b", shared: true, wipe: "Zero" },
          { name: "local", path: "/state", shared: false, wipe: "Discard" },
        ],
        libvirtSocket: "/sock",
        zone: "north",
        nodeLabels: { "example.com/disk": "fast", gpu: "" },
        allowedDownloadNetworks: ["127.0.0.0/8", "10.0.0.0/8"],
        nodeAddresses: ["192.0.2.1", "192.0.2.2"],
        serverAddress: "192.0.2.3",
        serverPort: 9500,
        reservedMemoryMiB: 954,
        imageCacheBytes: 10 * 2 ** 30,
        metrics: { host: "::1", port: 9000 },
      },
    });
  });
});

describe("vireo api-server", () => {
  test("listens everywhere by default", () => {
    expect(parseCommandLine(["api-server"])).toEqual({
      kind: "api-server",
      logLevel: "info",
      config: {
        kubeconfig: undefined,
        address: { host: "::", port: 9443 },
        metrics: { host: "127.0.0.1", port: 0 },
      },
    });
  });

  test("listens where it is told to", () => {
    expect(parseCommandLine(["api-server", "--serving-address=127.0.0.1:8443"])).toMatchObject({
      config: { address: { host: "127.0.0.1", port: 8443 } },
    });
  });
});

describe("vireo refuses", () => {
  test.each([
    ["nothing", [], "no command given"],
    ["a command that it does not have", ["explode"], 'there is no command "explode"'],
    ["a flag that it does not have", ["controller", "--explode"], "'--explode'"],
    ["an argument that is no flag", ["controller", "x"], "'x'"],
    ["a flag without its value", ["controller", "--kubeconfig"], "--kubeconfig"],
    [
      "an address without a port",
      ["controller", "--metrics-address=here"],
      '--metrics-address: "here" is not HOST:PORT',
    ],
    ["a port that cannot be", ["controller", "--metrics-address=:65536"], "is not HOST:PORT"],
    ["a level that it does not have", ["controller", "--log-level=loud"], "is not one of debug"],
    [
      "an election that is neither on nor off",
      ["controller", "--leader-elect=maybe"],
      "is not true or false",
    ],
    ["an agent without a name", ["node-agent"], "--node-name must be given"],
    ["an agent with a name that is none", ["node-agent", "--node-name=../x"], "is not a lower-case DNS name"],
    [
      "a path that depends on where it stands",
      ["node-agent", "--node-name=a", "--state-directory=x"],
      "is not an absolute path",
    ],
    ...[
      ["a pool with a name that is none", "Fast=/x"],
      ["a pool without an absolute path", "fast=x"],
      ["a pool with a word that it does not know", "fast=/x,quick"],
      ["a pool that is wiped in two ways", "fast=/x,wipe=zero,wipe=none"],
      ["a local pool that is not the state directory", "local=/x"],
    ].map(([what = "", pool = ""]): [string, string[], string] => [
      what,
      ["node-agent", "--node-name=a", `--storage-pool=${pool}`],
      "--storage-pool: ",
    ]),
    [
      "two pools of one name",
      ["node-agent", "--node-name=a", "--storage-pool=a=/x", "--storage-pool=a=/y"],
      "a pool of a name of its own",
    ],
    [
      "labels that are none",
      ["node-agent", "--node-name=a", "--node-labels=a"],
      "is not a label as KEY=VALUE",
    ],
    [
      "a zone that is no label value",
      ["node-agent", "--node-name=a", "--zone=a b"],
      "is not a Kubernetes label value",
    ],
    [
      "a network that is none",
      ["node-agent", "--node-name=a", "--allow-download-network=x"],
      "is not an IPv4 network",
    ],
    [
      "an address that is none",
      ["node-agent", "--node-name=a", "--node-address=x"],
      "is not an IPv4 address",
    ],
    [
      "an amount that is none",
      ["node-agent", "--node-name=a", "--reserved-memory=much"],
      "is not a quantity",
    ],
  ])("%s", (_, args, message) => {
    expect(() => parseCommandLine(args)).toThrow(UsageError);
    expect(() => parseCommandLine(args)).toThrow(message);
  });
});

test.each([[["--help"]], [["help"]], [["controller", "--help"]]])("%j asks for help", (args) => {
  expect(parseCommandLine(args)).toEqual({ kind: "help" });
});
