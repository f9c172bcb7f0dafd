import { describe, expect, test } from "@jest/globals";
import { parse } from "yaml";

import { addContext, currentContext, removeContext } from "../../testbed/demo/user-kubeconfig.ts";

const demo = {
  clusters: [{ name: "vireo", cluster: { server: "https://10.99.0.1:6443" } }],
  users: [{ name: "vireo", user: { "client-key-data": "a2V5" } }],
  contexts: [{ name: "vireo", context: { cluster: "vireo", user: "vireo" } }],
};

const work = `# my clusters
apiVersion: v1
kind: Config
clusters:
  - name: work # the big one
    cluster: { server: https://work.example }
users:
  - name: work
    user: { token: abc }
contexts:
  - name: work
    context: { cluster: work, user: work }
current-context: work
`;

describe("the user's kubeconfig", () => {
  test.each([
    ["an absent one", ""],
    ["one with another cluster", work],
    ["one that has the demo already", addContext(work, demo)],
    ["one without lists", "apiVersion: v1\nkind: Config\nclusters: null\n"],
  ])("%s gets the demo's context once, and it is current", (_, before) => {
    const after = parse(addContext(before, demo)) as Record<string, { name: string }[]>;
    for (const list of ["clusters", "users", "contexts"]) {
      expect(after[list]?.filter(({ name }) => name === "vireo-demo")).toHaveLength(1);
    }
    expect(after["current-context"]).toBe("vireo-demo");
    expect(after["contexts"]).toContainEqual({
      name: "vireo-demo",
      context: { cluster: "vireo-demo", user: "vireo-demo" },
    });
  });

  test("keeps other clusters and a person's comments", () => {
    const after = addContext(work, demo);
    expect(after).toContain("# my clusters");
    expect(after).toContain("# the big one");
    expect(parse(after)).toMatchObject({ users: [{ name: "work", user: { token: "abc" } }, {}] });
  });

  test("is what it was before when the context is removed", () => {
    expect(currentContext(work)).toBe("work");
    expect(parse(removeContext(addContext(work, demo), "work"))).toEqual(parse(work));
  });

  test("keeps a context that was made current meanwhile", () => {
    const elsewhere = addContext(work, demo).replace("current-context: vireo-demo", "current-context: work");
    expect(currentContext(removeContext(elsewhere, "other"))).toBe("work");
  });

  test("that is no map is refused and not replaced", () => {
    expect(() => addContext("- a\n- b\n", demo)).toThrow("not a map");
    expect(() => addContext("a: [\n", demo)).toThrow("not YAML");
  });
});
