import {
  type KnownNetwork,
  type NetworkFacts,
  otherTunnelAddresses,
  type PlacedAddress,
  placedAddresses,
  wantedNetworks,
} from "./cluster-network.ts";
import type { NetworkRoutes, NodeNetworks } from "../../links/types.ts";

const routesOf = (network: KnownNetwork, addresses: readonly PlacedAddress[]): NetworkRoutes => ({
  vni: network.vni,
  cidr: network.cidr,
  mtu: network.mtu,
  reachableFromNodes: network.reachableFromNodes,
  peers: network.peers.map(({ vni }) => vni),
  remote: addresses.flatMap(({ vni, address, nodeAddress }) =>
    vni === network.vni && nodeAddress !== undefined ? [{ address, nodeAddress }] : [],
  ),
});

/** Undefined while this node has no address that others could send to: nothing is changed then. */
export const desiredRoutes = (facts: NetworkFacts): NodeNetworks | undefined => {
  if (facts.tunnelAddress === undefined) return undefined;
  const addresses = placedAddresses(facts);
  return {
    tunnelAddress: facts.tunnelAddress,
    vxlanPort: facts.vxlanPort,
    nodes: otherTunnelAddresses(facts),
    networks: wantedNetworks(facts, addresses).map((network) => routesOf(network, addresses)),
  };
};
