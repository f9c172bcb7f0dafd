import { describe, expect, test } from "@jest/globals";
import { readLayerHeader } from "../../../../src/node-agent/volumes/layer-header.ts";
import { FakeHost } from "./fake-host.ts";

const read = (backing: string | undefined, clusters: ReadonlyMap<number, number> = new Map()) => {
  const host = new FakeHost();
  host.put("/pool/layer.qcow2", { sizeBytes: 2 ** 20, backing, clusters: new Map(clusters) });
  return readLayerHeader(host.files, "/pool/layer.qcow2");
};

describe("the header of a layer", () => {
  test.each([
    ["nothing", undefined, undefined],
    ["a path", "/pool/base.qcow2", "/pool/base.qcow2"],
    ["options", 'json:{"driver":"qcow2","file":{"driver":"file","filename":"/b"}}', "/b"],
    ["flat options", 'json:{"driver":"qcow2","file.driver":"file","file.filename":"/b"}', "/b"],
    ["options without a file", 'json:{"driver":"null-co"}', 'json:{"driver":"null-co"}'],
    ["options that are cut", 'json:{"driver":', 'json:{"driver":'],
  ])("that names %s is understood as QEMU means it", async (_what, backing, expected) => {
    expect((await read(backing)).backingPath).toBe(expected);
  });

  test("tells the size, and whether anything was written", async () => {
    expect(await read("/b")).toMatchObject({ virtualSizeBytes: 2 ** 20, isEmpty: true });
    expect(await read("/b", new Map([[3, 1]]))).toMatchObject({ isEmpty: false });
  });

  test("that is missing, or is no qcow2 header, is damage", async () => {
    const host = new FakeHost("/pool");
    await expect(readLayerHeader(host.files, "/pool/x")).rejects.toThrow("is missing");
    await host.files.writeAtomically("/pool/x", "text", { mode: 0o600 });
    await expect(readLayerHeader(host.files, "/pool/x")).rejects.toThrow("is not a qcow2 file");
  });
});
