import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { stringify } from "yaml";
import { loadKubeConfig, readCredentials, serverOf } from "../../../src/kube/kube-config.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const content = {
  apiVersion: "v1",
  kind: "Config",
  clusters: [
    {
      name: "far",
      cluster: { server: "https://far:6443/prefix/", "certificate-authority-data": base64("CA") },
    },
    { name: "plain", cluster: { server: "http://plain:8080" } },
    { name: "proxied", cluster: { server: "https://x", "proxy-url": "http://proxy" } },
  ],
  users: [
    { name: "cert", user: { "client-certificate-data": base64("CERT"), "client-key-data": base64("KEY") } },
    { name: "token", user: { token: "secret" } },
  ],
  contexts: [
    { name: "by-cert", context: { cluster: "far", user: "cert" } },
    { name: "by-token", context: { cluster: "far", user: "token" } },
    { name: "plain", context: { cluster: "plain", user: "token" } },
    { name: "proxied", context: { cluster: "proxied", user: "token" } },
    { name: "dangling", context: { cluster: "nowhere", user: "token" } },
  ],
  "current-context": "by-cert",
};

describe("loadKubeConfig", () => {
  let directory: string;
  let kubeconfig: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vireo-kubeconfig-"));
    kubeconfig = join(directory, "config");
    await writeFile(kubeconfig, stringify(content));
  });
  afterAll(() => rm(directory, { recursive: true }));

  test("uses the file's current context, and its certificates", async () => {
    const config = loadKubeConfig({ kubeconfig });
    expect(serverOf(config).href).toBe("https://far:6443/prefix");
    const { tls, headers } = await readCredentials(config);
    expect(headers).toEqual({});
    expect([tls.ca, tls.cert, tls.key].map(String)).toEqual(["CA", "CERT", "KEY"]);
  });

  test("another context is used when it is named", async () => {
    const { tls, headers } = await readCredentials(loadKubeConfig({ kubeconfig, context: "by-token" }));
    expect(headers).toEqual({ authorization: "Bearer secret" });
    expect(tls).not.toHaveProperty("key");
  });

  test("an unknown context is refused with the ones that there are", () => {
    expect(() => loadKubeConfig({ kubeconfig, context: "nope" })).toThrow(
      "no context named nope; it has: by-cert, by-token, plain, proxied, dangling",
    );
  });

  test("a missing file is an error", () => {
    expect(() => loadKubeConfig({ kubeconfig: join(directory, "absent") })).toThrow("ENOENT");
  });

  test.each([
    ["plain", "is not https"],
    ["proxied", "proxy-url, which is not supported"],
    ["dangling", "no cluster for the current context"],
  ])("the context %s is refused: %s", (context, message) => {
    expect(() => serverOf(loadKubeConfig({ kubeconfig, context }))).toThrow(message);
  });
});
