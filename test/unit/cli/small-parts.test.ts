import { describe, expect, test } from "@jest/globals";

import { readDuration, shortDuration } from "../../../src/cli/duration.ts";
import { readPorts } from "../../../src/cli/commands/port-forward.ts";
import { splitAtEscape } from "../../../src/cli/console/escape.ts";
import { stampedName } from "../../../src/cli/commands/snapshots.ts";
import { judgeReady } from "../../../src/cli/judge.ts";
import { readObjectName } from "../../../src/cli/names.ts";
import { table } from "../../../src/cli/print.ts";
import { hostNameOf, quoteForProxyCommand, sshOptions } from "../../../src/cli/ssh/options.ts";
import { machineOf, readCopyPlace, readLogin } from "../../../src/cli/ssh/targets.ts";
import { nearest } from "../../../src/cli/suggest.ts";
import { viewerArguments } from "../../../src/cli/vnc/viewers.ts";

describe("durations", () => {
  test.each([
    ["90s", 90_000],
    ["5m", 300_000],
    ["1h", 3_600_000],
    ["30", 30_000],
    [undefined, 300_000],
  ])("%s is %i ms", (text, ms) => {
    expect(readDuration("timeout", text)).toBe(ms);
  });

  test.each(["", "0", "5 m", "-1s", "1d", "1.5h"])("%j is none", (text) => {
    expect(() => readDuration("timeout", text)).toThrow("is not a duration");
  });

  test.each([
    [0, "0s"],
    [119_000, "119s"],
    [120_000, "2m"],
    [7_200_000, "2h"],
    [200_000_000, "2d"],
    [-5, "0s"],
  ])("%i ms are shown as %s", (ms, text) => {
    expect(shortDuration(ms)).toBe(text);
  });
});

describe("ports", () => {
  test.each([
    ["80", { local: 80, remote: 80 }],
    ["8080:80", { local: 8080, remote: 80 }],
    [":80", { local: 0, remote: 80 }],
  ])("%s", (text, wanted) => {
    expect(readPorts(text)).toEqual(wanted);
  });

  test.each(["", "0", "80:", "65536", "a:80", "80:80:80", "-1", "0:80"])("%j is refused", (text) => {
    expect(() => readPorts(text)).toThrow("is not PORT, LOCAL:PORT or :PORT");
  });
});

describe("what is typed into a console", () => {
  test("goes to the guest, Ctrl-C and all", () => {
    const bytes = Buffer.from("ls\r\u0003\u001b[A");
    expect(splitAtEscape(bytes)).toEqual({ bytes, leaves: false });
  });

  test("ends at Ctrl-], with what came before it", () => {
    const { bytes, leaves } = splitAtEscape(Buffer.from("ab\u001dcd"));
    expect([Buffer.from(bytes).toString(), leaves]).toEqual(["ab", true]);
  });
});

describe("tables", () => {
  test("have columns three blanks apart, and nothing that steers a terminal", () => {
    const rows = [
      ["x\u001b[31m\ny", "z"],
      ["much longer", ""],
    ];
    expect(table(["A", "LONG"], rows)).toBe("A             LONG\nx [31m y      z\nmuch longer\n");
  });
});

describe("names", () => {
  test.each([
    ["web", "machine", "web"],
    ["vm/web", "machine", "web"],
    ["virtualmachine.vireo.dev/web", "machine", "web"],
    ["VM/web", "machine", "web"],
    ["snapshot/before", "snapshot", "before"],
    ["vol/data", "volume", "data"],
  ])("%s is a %s", (text, kind, name) => {
    expect(readObjectName("SOURCE", text, ["machine", "snapshot", "volume"])).toEqual({ kind, name });
  });

  test.each(["", "../web", "pod/web", "vm/", "-rf", "Web", "web/x/y"])("%j is none", (text) => {
    expect(() => readObjectName("SOURCE", text, ["machine"])).toThrow("SOURCE");
  });

  test("with a time fit into an object's name", () => {
    expect(stampedName("web", Date.UTC(2026, 10, 23, 8, 5, 9))).toBe("web-20261123-080509");
    const long = stampedName(`${"a".repeat(236)}.${"b".repeat(16)}`, 0);
    expect(long).toMatch(/^a{236}-19700101-000000$/);
  });

  test("that are near are suggested, and others are not", () => {
    expect(nearest("wbe", ["web", "db"])).toBe("web");
    expect(nearest("x", ["web", "database"])).toBeUndefined();
  });
});

describe("an object is", () => {
  const judge = (generation: number, ...conditions: readonly [string, string, string][]) =>
    judgeReady({
      apiVersion: "v",
      kind: "K",
      metadata: { name: "x", uid: "u", resourceVersion: "1", creationTimestamp: "", generation: 2 },
      status: {
        observedGeneration: generation,
        conditions: conditions.map(([type, status, message]) => ({
          type,
          status: status as "True",
          reason: "Because",
          message,
          lastTransitionTime: "2026-11-23T10:20:30Z",
        })),
      },
    });

  test.each([
    [
      "awaited while its status is about an earlier spec",
      judge(1, ["Ready", "True", "old"]),
      "waiting",
      "waiting to be noticed",
    ],
    ["awaited while it says nothing", judge(2), "waiting", "waiting to be noticed"],
    [
      "awaited while it is not ready, in its own words",
      judge(2, ["Ready", "False", "booting"]),
      "waiting",
      "Because: booting",
    ],
    ["ready", judge(2, ["Ready", "True", "runs"]), "done", "Because: runs"],
    [
      "given up when only a person can help",
      judge(2, ["Ready", "False", "x"], ["Stalled", "True", "no such image"]),
      "failed",
      "Because: no such image",
    ],
  ])("%s", (_what, verdict, kind, message) => {
    expect(verdict).toEqual({ kind, message });
  });
});

describe("ssh", () => {
  const destination = { machine: "web", namespace: "shop", uid: "u-1", port: 22 };
  const settings = {
    self: ["/usr/bin/node", "/my programs/kubectl-vireo"],
    kubeconfig: "/home/me/100%/it's",
    context: "kind",
    knownHosts: "/home/me/known hosts",
  };

  test("is told how to get there, and what the host is to be called", () => {
    expect(hostNameOf(destination)).toBe("web.shop.vireo");
    expect(sshOptions(destination, settings)).toEqual([
      "-o",
      String.raw`ProxyCommand='/usr/bin/node' '/my programs/kubectl-vireo' 'port-forward' '--stdio' '--kubeconfig=/home/me/100%%/it'\''s' '--context=kind' '--namespace=shop' 'web' '22'`,
      "-o",
      "HostKeyAlias=vireo-u-1",
      "-o",
      'UserKnownHostsFile="/home/me/known hosts"',
      "-o",
      "StrictHostKeyChecking=accept-new",
      "-o",
      "HashKnownHosts=no",
      "-o",
      "CheckHostIP=no",
    ]);
  });

  test("is not given what would begin another line", () => {
    expect(() => quoteForProxyCommand("a\nProxyCommand=b")).toThrow("control character");
    expect(() => sshOptions(destination, { ...settings, knownHosts: 'a"b' })).toThrow("quotation mark");
  });

  test.each([
    ["web", { user: undefined, machine: "web" }],
    ["root@vm/web", { user: "root", machine: "web" }],
    ["me@example.com@web", { user: "me@example.com", machine: "web" }],
  ])("logs in by %s", (text, login) => {
    expect(readLogin(text)).toEqual(login);
  });

  test.each(["-oProxyCommand=x@web", "a b@web", "@web", "root@-web"])("does not log in by %j", (text) => {
    expect(() => readLogin(text)).toThrow();
  });
});

describe("scp", () => {
  const remote = (user: string | undefined, machine: string, path: string) => ({
    kind: "remote",
    login: { user, machine },
    path,
  });

  test.each([
    ["./a:b", { kind: "local", path: "./a:b" }],
    ["/x", { kind: "local", path: "/x" }],
    ["web:/srv", remote(undefined, "web", "/srv")],
    ["web:", remote(undefined, "web", "")],
    ["debian@web:a:b", remote("debian", "web", "a:b")],
  ])("takes %s for what it is", (text, wanted) => {
    expect(readCopyPlace(text)).toEqual(wanted);
  });

  test.each([
    [["a", "b"], "none of the places is a machine's"],
    [["web:a", "db:b"], "one machine at a time, not web and db"],
  ])("refuses %j", (places, message) => {
    expect(() => machineOf(places.map(readCopyPlace))).toThrow(message);
  });
});

describe("viewers", () => {
  test.each([
    ["/usr/bin/remote-viewer", ["vnc://127.0.0.1:5901"]],
    ["/usr/bin/vncviewer", ["127.0.0.1::5901"]],
    ["/opt/mine", ["127.0.0.1::5901"]],
  ])("%s is told where to connect", (path, args) => {
    expect(viewerArguments(path, "127.0.0.1", 5901)).toEqual(args);
  });
});
