import { expect, test } from "@jest/globals";

import { createArrivals } from "../../../../../src/node-agent/reconcilers/migration/arrivals.ts";
import { machineOf } from "../../../controllers/disk-objects.ts";

test("a machine is expected once, for as long as some migration brings it", () => {
  const arrivals = createArrivals();
  const web = machineOf("web");
  arrivals.expect("first", web);
  arrivals.expect("second", web);
  expect(arrivals.list()).toEqual([web]);
  expect(arrivals.forget("first")).toBe(true);
  expect(arrivals.list()).toEqual([web]);
  expect(arrivals.forget("second")).toBe(true);
  expect(arrivals.list()).toEqual([]);
  expect(arrivals.forget("second")).toBe(false);
});
