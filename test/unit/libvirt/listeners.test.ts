import { spawnSync } from "node:child_process";

import { describe, expect, test } from "@jest/globals";

import { Listeners } from "../../../src/libvirt/listeners.ts";

describe("listeners", () => {
  test("hear what is told, in the order in which they were added, until they are removed", () => {
    const listeners = new Listeners<string>();
    const heard: string[] = [];
    const removeFirst = listeners.add((event) => heard.push(`first ${event}`));
    listeners.add((event) => heard.push(`second ${event}`));
    listeners.tell("a");
    removeFirst();
    removeFirst();
    listeners.tell("b");
    expect(heard).toEqual(["first a", "second a", "second b"]);
  });

  test("added twice hear twice, and each is removed by itself", () => {
    const listeners = new Listeners<string>();
    const heard: string[] = [];
    const listener = (event: string): void => void heard.push(event);
    const remove = listeners.add(listener);
    listeners.add(listener);
    listeners.tell("a");
    remove();
    listeners.tell("b");
    expect(heard).toEqual(["a", "a", "b"]);
  });

  test("that throw do not keep the others from hearing, and what they throw surfaces as uncaught", () => {
    const script = `
      import { Listeners } from ${JSON.stringify(new URL("../../../src/libvirt/listeners.ts", import.meta.url).href)};
      process.on("uncaughtException", (error) => console.log("uncaught", error.message));
      const listeners = new Listeners();
      listeners.add(() => { throw new Error("a bug of the listener"); });
      listeners.add((event) => console.log("heard", event));
      listeners.tell("it");`;
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], {
      encoding: "utf8",
    });
    expect(stdout).toBe("heard it\nuncaught a bug of the listener\n");
  });
});
