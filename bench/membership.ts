import { type AddressSlice, addressSlices } from "../src/api/address-slice.ts";
import { virtualMachines } from "../src/api/virtual-machine.ts";
import { createStore, silentLogger } from "../src/kube/index.ts";
import { deleteMachines, type Stage, until } from "./stage.ts";

const MACHINES = 100;
const NAMESPACE = "default";
const GROUP = "joined";

export interface MembershipCost {
  /** Writes of AddressSlices. */
  readonly writes: number;
  /** KiB that each node's agent was sent for it. */
  readonly sentKiB: number;
  /** From the first request to the last slice, in ms. */
  readonly ms: number;
}

const nameOf = (index: number): string => `member-${index}`;
const names = Array.from({ length: MACHINES }, (_, index) => nameOf(index));

/** Machines that are placed, have addresses, and never boot. */
const placeMachines = async (stage: Stage): Promise<void> => {
  const { client, signal } = stage;
  const spec = { flavor: "bench", image: "tiny", networks: [{ name: "bench" }], runStrategy: "Halted" };
  for (const name of names) {
    await client.create(virtualMachines, { metadata: { name, namespace: NAMESPACE }, spec }, { signal });
  }
  await Promise.all(
    names.map((name) => until(stage, name, (machine) => machine?.status?.printableStatus === "Stopped")),
  );
};

const membersIn = (slices: readonly AddressSlice[]): number =>
  slices
    .flatMap(({ spec }) => spec.machines ?? [])
    .filter(({ securityGroups }) => securityGroups.includes(GROUP)).length;

/** What it costs when a hundred machines join a group at once: as one node's agent sees it. */
export const measureMembership = async (stage: Stage): Promise<MembershipCost> => {
  const { client, signal, testbed } = stage;
  const group = {
    apiVersion: "vireo.dev/v1alpha1",
    kind: "SecurityGroup",
    metadata: { name: GROUP },
    spec: {},
  };
  await testbed.kubectl(["apply", "-n", NAMESPACE, "-f", "-"], { stdin: JSON.stringify(group) });
  await placeMachines(stage);

  const following = new AbortController();
  const slices = createStore({ client, resource: addressSlices, logger: silentLogger });
  const running = slices.run(following.signal).catch(() => {});
  await slices.whenSynced(signal);
  let writes = 0;
  let bytes = 0;
  const complete = new Promise<void>((resolve) => {
    slices.onChange(({ after }) => {
      writes += 1;
      bytes += JSON.stringify(after ?? {}).length;
      if (membersIn(slices.list()) === MACHINES) resolve();
    });
  });
  const began = performance.now();
  const patch = { spec: { securityGroups: [GROUP] } };
  await Promise.all(
    names.map((name) =>
      client.mergePatch(virtualMachines, { namespace: NAMESPACE, name }, patch, { signal }),
    ),
  );
  await complete;
  const ms = performance.now() - began;
  following.abort();
  await running;
  await deleteMachines(stage, names);
  return { writes, sentKiB: bytes / 1024, ms };
};
