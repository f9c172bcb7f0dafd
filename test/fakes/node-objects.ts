import type { Condition } from "../../src/api/condition.ts";
import type { KubernetesObject } from "../../src/api/meta.ts";
import type { Resource } from "../../src/api/resource.ts";
import {
  isSaid,
  type ObjectView,
  type OwnStatus,
  type StatusApply,
} from "../../src/node-agent/object-view.ts";
import type { Effect } from "./node-volumes.ts";

type WithStatus = KubernetesObject & {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
};

/** Objects of one kind as an API server would have them, and what an agent says of them. */
export class FakeObjects<T extends WithStatus, Apply extends StatusApply> {
  readonly objects = new Map<string, T>();
  writes = 0;
  readonly view: ObjectView<T, Apply>;

  constructor(resource: Resource<T>, own: OwnStatus, effect: Effect) {
    this.view = {
      get: (uid) => this.objects.get(uid),
      list: () => [...this.objects.values()],
      isOwnWrite: () => false,
      uidsInCluster: async () => new Set(this.objects.keys()),
      existsInCluster: async (uid) => this.objects.has(uid),
      say: (_object, apply) =>
        effect(() => {
          const object = this.objects.get(apply.metadata.uid);
          if (object === undefined || isSaid(object.status, apply.status, own)) return;
          this.writes += 1;
          this.put(resource.parse({ ...object, status: merged(object.status, apply.status, own) }));
        }),
    };
  }

  put(object: T): void {
    this.objects.set(object.metadata.uid, object);
  }
}

/** As server-side apply does it: what the writer leaves out of its own is gone. */
const merged = (before: WithStatus["status"], said: StatusApply["status"], own: OwnStatus) => {
  const others = Object.entries(before ?? {}).filter(([field]) => !own.fields.includes(field));
  const kept = (before?.conditions ?? []).filter(({ type }) => !own.conditions.includes(type));
  return { ...Object.fromEntries(others), ...said, conditions: [...kept, ...(said.conditions ?? [])] };
};
