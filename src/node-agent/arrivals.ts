import type { VirtualMachine } from "../api/virtual-machine.ts";

/** Machines on their way to this node, whose rules have to be here before their guests are; and those that have just come. */
export interface Arrivals {
  expect(machine: VirtualMachine): void;
  forget(machineUid: string): void;
  list(): readonly VirtualMachine[];
}

export const createArrivals = (): Arrivals => {
  const expected = new Map<string, VirtualMachine>();
  return {
    expect: (machine) => void expected.set(machine.metadata.uid, machine),
    forget: (machineUid) => void expected.delete(machineUid),
    list: () => [...expected.values()],
  };
};
