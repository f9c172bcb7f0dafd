import type { GuestStatus, VirtualMachine } from "../../../api/virtual-machine.ts";
import type { Volume } from "../../../api/volume.ts";
import type { PlacedMachine } from "../../desired.ts";
import type { ObservedHardware } from "../../domains/index.ts";
import { isOn } from "./guest-record.ts";
import type { Goal } from "./lifecycle.ts";

type GuestVolumes = NonNullable<GuestStatus["volumes"]>;

/** Looks Volumes of this node up. */
export interface VolumeLookup {
  get(uid: string): Volume | undefined;
}

/** Volumes that the machine was given and whose disks are there. */
export const usableVolumes = (
  { allocation }: PlacedMachine,
  volumes: VolumeLookup,
): NonNullable<PlacedMachine["allocation"]["volumes"]> =>
  (allocation.volumes ?? []).filter(({ uid }) => volumes.get(uid)?.status?.sizeMiB !== undefined);

/** Whether the guest has its volumes, or is about to: one that is to stay off needs none. */
const needsVolumes = (guest: GuestStatus, goal: Goal): boolean =>
  isOn(guest) || goal.kind === "run" || goal.kind === "restart" || goal.kind === "restore";

/**
 * The Volumes that the guest has, as its status names them. A Volume stands
 * there before the guest is given it, and until it is known that the guest has
 * let go of it: nobody else gets it meanwhile.
 */
export const guestVolumes = (
  target: PlacedMachine,
  known: {
    readonly guest: GuestStatus;
    readonly goal: Goal;
    readonly hardware: ObservedHardware | undefined;
    readonly volumes: VolumeLookup;
  },
): GuestVolumes | undefined => {
  const { guest, goal, hardware } = known;
  if (!needsVolumes(guest, goal)) return undefined;
  const vmUid = target.machine.metadata.uid;
  const wanted = usableVolumes(target, known.volumes);
  const names = new Map((guest.volumes ?? []).map(({ uid, name }) => [uid, name]));
  const detaching = (hardware?.disks ?? [])
    .filter(({ kind, uid }) => kind === "disk" && uid !== vmUid && !wanted.some((one) => one.uid === uid))
    .map(({ uid }) => ({ uid, name: names.get(uid) ?? known.volumes.get(uid)?.metadata.name }));
  const all = [
    ...wanted.map(({ name, uid }) => ({ name, uid, state: "Attached" as const })),
    ...detaching.flatMap(({ name, uid }) =>
      name === undefined ? [] : [{ name, uid, state: "Detaching" as const }],
    ),
  ];
  return all.length === 0 ? undefined : all;
};

/** Whether the guest is about to get a Volume that its status does not name yet. */
export const mustNameVolumesFirst = ({ status }: VirtualMachine, guest: GuestStatus): boolean => {
  const said = new Set((status?.guest?.volumes ?? []).map(({ uid }) => uid));
  return (guest.volumes ?? []).some(({ uid }) => !said.has(uid));
};
