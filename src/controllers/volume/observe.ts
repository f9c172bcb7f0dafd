import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import { byAge } from "../by-age.ts";
import type { Stores } from "../context.ts";
import { isShared } from "../disk-source/judge.ts";
import { observeSource } from "../disk-source/observe.ts";
import { isLost } from "../hypervisor/status.ts";
import { reportsOf } from "../image/observe.ts";
import { findImage } from "../image/visible.ts";
import { BY_HELD_VOLUME, BY_RETAINED, BY_UID, BY_VOLUME } from "../stores.ts";
import { findCopies } from "./copies.ts";
import type { OriginFacts } from "./origin.ts";

export interface VolumeFacts {
  readonly volume: Volume;
  /** What spec.source names; looked at until the Volume has a node. */
  readonly origin: OriginFacts;
  /** Machines that name the Volume, were given it, or that it is reserved for; the oldest first. */
  readonly machines: readonly VirtualMachine[];
  /** Whether the machine that it is reserved for exists and cannot be understood. */
  readonly isHolderUnreadable: boolean;
  readonly hypervisors: readonly Hypervisor[];
  /** What is being copied from it, as "Image base"; looked at when it is to go. */
  readonly copies: readonly string[];
  /** Machines of its namespace that exist and cannot be understood: they may name it. */
  readonly unreadableMachines: number;
  /** Time since this process first saw the Volume, in ms. */
  readonly seenForMs: number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeVolume = (
  stores: Stores,
  key: ObjectKey,
  seenForMs: (uid: string) => number,
): VolumeFacts | undefined => {
  const volume = stores.volumes.get(key);
  if (volume === undefined) return undefined;
  const { uid, deletionTimestamp } = volume.metadata;
  const holder = volume.status?.attachedTo;
  const unreadable = stores.virtualMachines
    .unreadable()
    .filter((machine) => machine.key.namespace === key.namespace);
  return {
    volume,
    origin: volume.status?.nodeName === undefined ? observeOrigin(stores, volume) : { kind: "blank" },
    machines: machinesOf(stores, volume),
    isHolderUnreadable:
      holder !== undefined && unreadable.some((machine) => machine.key.name === holder.name),
    hypervisors: stores.hypervisors.list(),
    copies: deletionTimestamp === undefined ? [] : findCopies(stores, { volumeUid: uid }),
    unreadableMachines: unreadable.length,
    seenForMs: seenForMs(uid),
  };
};

const machinesOf = ({ virtualMachines }: Stores, volume: Volume): readonly VirtualMachine[] => {
  const { uid } = volume.metadata;
  const holderUid = volume.status?.attachedTo?.uid;
  const found = [
    ...virtualMachines.byIndex(BY_VOLUME, formatKey(keyOf(volume))),
    ...virtualMachines.byIndex(BY_HELD_VOLUME, uid),
    ...(holderUid === undefined ? [] : virtualMachines.byIndex(BY_UID, holderUid)),
  ];
  return [...new Map(found.map((machine) => [machine.metadata.uid, machine])).values()].toSorted(byAge);
};

const observeOrigin = (stores: Stores, volume: Volume): OriginFacts => {
  const { source } = volume.spec;
  const { namespace } = volume.metadata;
  if (source?.image !== undefined) {
    const { image: name, imageNamespace } = source;
    const reference = { name, imageNamespace, userNamespace: namespace ?? "" };
    const image = findImage((imageKey) => stores.images.get(imageKey), reference);
    const reports = image === undefined ? [] : reportsOf(image, stores.hypervisors.list());
    return { kind: "image", reference, image, reports };
  }
  if (source?.retained !== undefined) return observeRetained(stores, volume, source.retained);
  const disk = source === undefined ? undefined : observeSource(stores, namespace, source);
  return disk === undefined ? { kind: "blank" } : { kind: "disk", source: disk };
};

const observeRetained = (stores: Stores, volume: Volume, uid: string): OriginFacts => {
  // Of a shared pool several nodes tell; one that lives is as good as any.
  const found = stores.hypervisors
    .list()
    .toSorted((one, other) => Number(isLost(one)) - Number(isLost(other)))
    .flatMap((hypervisor) =>
      (hypervisor.status?.retainedVolumes ?? [])
        .filter((retained) => retained.uid === uid)
        .map((retained) => ({
          nodeName: hypervisor.metadata.name,
          volume: retained,
          isShared: isShared(hypervisor, retained.pool),
        })),
    );
  // In another namespace they ask in vain.
  const rivals = stores.volumes
    .byIndex(BY_RETAINED, uid)
    .filter(({ metadata }) => metadata.namespace === volume.metadata.namespace)
    .filter(({ metadata }) => metadata.uid !== volume.metadata.uid);
  const owner = rivals.find(({ status }) => status?.allocation?.retainedUid === uid);
  const earlier = rivals
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .find((rival) => byAge(rival, volume) < 0);
  return { kind: "retained", uid, found: found[0], takenBy: (owner ?? earlier)?.metadata.name };
};
