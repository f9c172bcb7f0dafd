import { describe, expect, test } from "@jest/globals";
import { imagesNamedIn, newRecord, parseRecord } from "../../../../src/node-agent/volumes/record.ts";
import { made } from "../../../../src/node-agent/volumes/transitions.ts";
import { uidOf } from "./node.ts";

const checksum = `sha256:${"0".repeat(64)}`;
const image = { uid: uidOf(1), checksum };
const present = { hasFormerLayer: true };
const absent = { hasFormerLayer: false };
const written = (change: object = {}): string =>
  JSON.stringify({ ...made(newRecord({ image }), "base"), ...change });

describe("the record of a disk", () => {
  test("of an agent that knew no layers has one when the file is there", () => {
    const text = JSON.stringify({ imageUid: image.uid, checksum });
    expect(parseRecord(text, present)).toEqual({
      ...newRecord({ image }),
      layers: [{ name: "root" }],
      head: "root",
    });
    expect(parseRecord(text, absent)).toEqual(newRecord({ image }));
  });

  test.each([
    ["is cut", written().slice(0, -5)],
    ["is of a later version", written({ version: 3 })],
    ["names a layer that leads out of the directory", written({ layers: [{ name: "../base" }] })],
    ["dooms a file that is not the disk's", written({ doomed: ["../../images/x/disk.qcow2"] })],
    ["dooms its own record", written({ doomed: ["disk.json"] })],
    ["names a UID that is none", written({ image: { uid: "..", checksum } })],
  ])("is none when it %s", (_sentence, text) => {
    expect(parseRecord(text, absent)).toBeUndefined();
  });

  test("names the image that the disk stands on, and one that it is copied from", () => {
    expect(imagesNamedIn(written())).toEqual([image.uid]);
    expect(imagesNamedIn(JSON.stringify(newRecord({ copiedImageUid: uidOf(2) })))).toEqual([uidOf(2)]);
    expect(imagesNamedIn(JSON.stringify({ imageUid: image.uid, checksum }))).toEqual([image.uid]);
    expect(imagesNamedIn("")).toEqual([]);
  });

  test("that cannot be read may name any UID in it as its image's", () => {
    expect(imagesNamedIn(written({ version: 3 }))).toContain(image.uid);
  });
});
