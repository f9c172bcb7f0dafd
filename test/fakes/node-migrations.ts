import type { Migrations } from "../../src/node-agent/migrations/index.ts";

const refuse = (): never => {
  throw new Error("the fake moves no guests");
};

/** A node that no guest leaves or comes to. */
export const noMigrations: Migrations = {
  observe: async () => "absent",
  depart: refuse,
  outgoing: () => undefined,
  arrive: async () => refuse(),
  incoming: () => undefined,
  forget: async () => {},
  cancelJob: async () => {},
  resume: async () => {},
  downtimeOf: async () => undefined,
};
