import type { Domain, DomainCdrom, DomainDisk, DomainInterface, RootDisk } from "../types.ts";

type BootDevice = RootDisk | DomainDisk | DomainCdrom | DomainInterface;

/**
 * The place, from 1, of each device that the firmware is to try: those with an
 * order first; then root disk, volumes and CD-ROMs as they are listed. All of
 * them get a number, since libvirt has QEMU pass over those without one.
 *
 * https://libvirt.org/formatdomain.html#bios-bootloader
 */
export const bootPlaces = (want: Domain): ReadonlyMap<BootDevice, number> => {
  const networks = want.interfaces.filter(({ bootOrder }) => bootOrder !== undefined);
  const devices: readonly BootDevice[] = [want.rootDisk, ...want.volumes, ...want.cdroms, ...networks];
  const order = ({ bootOrder = Infinity }: BootDevice): number => bootOrder;
  const sorted = devices.toSorted((a, b) => (order(a) === order(b) ? 0 : order(a) - order(b)));
  return new Map(sorted.map((device, index) => [device, index + 1]));
};
