import type { VirtualMachine } from "../../../api/virtual-machine.ts";

/**
 * Machines on their way to this node, whose rules have to be here before their
 * guests are; and those that have just come. Each by the migration that brings it.
 */
export interface Arrivals {
  expect(migrationUid: string, machine: VirtualMachine): void;
  /** Returns whether a machine was expected. */
  forget(migrationUid: string): boolean;
  /** Each machine once. */
  list(): readonly VirtualMachine[];
}

export const createArrivals = (): Arrivals => {
  const expected = new Map<string, VirtualMachine>();
  return {
    expect: (migrationUid, machine) => void expected.set(migrationUid, machine),
    forget: (migrationUid) => expected.delete(migrationUid),
    list: () => [
      ...new Map([...expected.values()].map((machine) => [machine.metadata.uid, machine])).values(),
    ],
  };
};
