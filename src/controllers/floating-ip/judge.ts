import type { FloatingIpClaim } from "../../api/floating-ip.ts";
import { isTrue } from "../../api/condition.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { isLost } from "../hypervisor/status.ts";

/** Can a machine have a floating address? */
export type MachineVerdict =
  /** Yes, and this is how it is reached. */
  | { readonly kind: "healthy"; readonly claim: FloatingIpClaim }
  /** Not now. One that has the address keeps it while there is no better. */
  | { readonly kind: "unhealthy"; readonly reason: string; readonly message: string }
  /** It is not to run any more: one that has the address loses it. */
  | { readonly kind: "released"; readonly reason: string; readonly message: string };

/** A machine exists but cannot be understood: most likely the controller is older than the CRDs. */
export const UNREADABLE = "unreadable";

/**
 * @param machine undefined when there is none of that name
 * @param hypervisor of the node that the machine is on
 */
export const judgeMachine = (
  name: string,
  machine: VirtualMachine | undefined | typeof UNREADABLE,
  hypervisor: Hypervisor | undefined,
): MachineVerdict => {
  if (machine === UNREADABLE) return unhealthy("MachineUnreadable", `${name} cannot be understood`);
  if (machine === undefined) return released("MachineNotFound", `${name} does not exist`);
  if (machine.metadata.deletionTimestamp !== undefined)
    return released("MachineDeleted", `${name} is being deleted`);
  if (machine.spec.runStrategy === "Halted") return released("MachineHalted", `${name} is halted`);
  return judgeRunning(name, machine, hypervisor);
};

const judgeRunning = (
  name: string,
  { metadata, status }: VirtualMachine,
  hypervisor: Hypervisor | undefined,
): MachineVerdict => {
  const { nodeName } = status ?? {};
  const card = status?.allocation?.interfaces[0];
  if (nodeName === undefined || card === undefined)
    return unhealthy("MachineNotPlaced", `${name} is on no node yet`);
  if (hypervisor === undefined || isLost(hypervisor))
    return unhealthy("NodeLost", `${name} is on node ${nodeName}, which gives no sign of life`);
  // Ready tells whether it can be reached. A machine that has just moved is Ready by the word of the node before.
  if (status?.guest?.powerState !== "Running") return unhealthy("MachineNotRunning", `${name} does not run`);
  if (!isTrue(status?.conditions, "Ready")) return unhealthy("MachineNotReady", `${name} is not Ready`);
  const { address, vni } = card;
  return { kind: "healthy", claim: { machine: name, machineUid: metadata.uid, nodeName, address, vni } };
};

const unhealthy = (reason: string, message: string): MachineVerdict => ({
  kind: "unhealthy",
  reason,
  message,
});
const released = (reason: string, message: string): MachineVerdict => ({ kind: "released", reason, message });
