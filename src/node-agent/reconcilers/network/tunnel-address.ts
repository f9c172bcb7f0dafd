import type { DefaultRoute, HostInterface } from "../../host/interfaces.ts";

/**
 * The address of this node that other nodes send guests' packets to: as kubelet
 * finds the node's own, beside the default route. Undefined without any address.
 */
export const chooseTunnelAddress = (
  configured: string | undefined,
  route: DefaultRoute,
  interfaces: readonly HostInterface[],
): string | undefined => {
  if (configured !== undefined) return configured;
  if (route.prefsrc !== undefined) return route.prefsrc;
  const beside = interfaces.find(({ name }) => name === route.dev) ?? interfaces[0];
  return beside?.addresses[0];
};
