import type { DomainRef } from "../../libvirt/index.ts";
import { isUid } from "../host/paths.ts";

/**
 * How a freshly started agent knows its own domains: libvirt's UUID is the
 * machine's UID, and the name is made of the same UID. Both must agree, since
 * a user of the host may give a domain any name, or any UUID, but has no reason
 * to give it both.
 */

const NAME_PREFIX = "vireo-";

export const domainName = (vmUid: string): string => NAME_PREFIX + vmUid;

/** The UID of the machine that a domain belongs to; undefined for a domain that is not ours. */
export const vmUidOf = ({ name, uuid }: Pick<DomainRef, "name" | "uuid">): string | undefined =>
  isUid(uuid) && name === domainName(uuid) ? uuid : undefined;
