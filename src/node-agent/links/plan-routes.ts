import { routingTable, vniOfTable, vxlanDevice } from "../../api/network-identity.ts";
import { tapRoute } from "./plan-taps.ts";
import type { Scene } from "./scene.ts";
import { isPlain, nothing, type Plan, routeText, type Step } from "./steps.ts";
import type { NetworkRoutes, ObservedRoute, RemoteAddress, Route } from "./types.ts";

/** A guest's address that two nodes are said to have belongs to the lower one, on every node. */
const orderedRemote = (remote: readonly RemoteAddress[]): readonly RemoteAddress[] =>
  remote.toSorted((one, other) => (one.nodeAddress < other.nodeAddress ? -1 : 1));

/** The routes of one Network's table. The first that has an address keeps it. */
const tableOf = (network: NetworkRoutes, scene: Scene, local: LocalRoutes): readonly Route[] => {
  const { desired, networks, nodes } = scene;
  const routes = new Map<string, Route>();
  const put = (route: Route): void => {
    if (!routes.has(route.destination)) routes.set(route.destination, route);
  };
  const tunnelRoute = (destination: string, gateway: string, vni: number): Route => ({
    table: routingTable(network.vni),
    destination,
    device: vxlanDevice(vni),
    gateway,
    source: desired.tunnelAddress,
  });
  for (const node of nodes) put(tunnelRoute(node, node, network.vni));
  for (const vni of new Set([network.vni, ...network.peers.toSorted((one, other) => one - other)])) {
    for (const { destination, device } of local.get(vni) ?? []) {
      if (device !== undefined) put(tapRoute(network.vni, destination, device));
    }
    for (const { address, nodeAddress } of orderedRemote(networks.get(vni)?.remote ?? [])) {
      if (nodeAddress !== desired.tunnelAddress) put(tunnelRoute(address, nodeAddress, vni));
    }
  }
  return [...routes.values()];
};

/** The routes to this node's guests in their own Networks' tables, by the Networks' numbers. */
type LocalRoutes = ReadonlyMap<number, readonly Route[]>;

const localRoutes = ({ taps, observed }: Scene): LocalRoutes =>
  Map.groupBy(
    observed.routes.filter(
      (route) =>
        isPlain(route) &&
        route.device !== undefined &&
        taps.has(route.device) &&
        taps.get(route.device) === vniOfTable(route.table),
    ),
    ({ table }) => vniOfTable(table) ?? 0,
  );

export const planRoutes = (scene: Scene): Plan => {
  const { networks, leftAlone, observed } = scene;
  const local = localRoutes(scene);
  const wanted = new Map(
    [...networks.values()]
      .flatMap((network) => tableOf(network, scene, local))
      .map((route) => [routeText(route), route]),
  );
  const present = new Set(observed.routes.filter(isPlain).map(routeText));
  const missing = [...wanted].flatMap(([text, route]) => (present.has(text) ? [] : [route]));
  const replaced = new Set(missing.map(({ table, destination }) => `${table} ${destination}`));
  const isSurplus = (route: ObservedRoute): boolean => {
    if (leftAlone.has(vniOfTable(route.table) ?? 0)) return false;
    if (!isPlain(route)) return true;
    // A route to the same address is replaced in one step, without a moment in which there is none.
    return !wanted.has(routeText(route)) && !replaced.has(`${route.table} ${route.destination}`);
  };
  return {
    ...nothing,
    connect: [
      ...observed.routes.filter(isSurplus).map((route): Step => ({ kind: "remove-route", route })),
      ...missing.map((route): Step => ({ kind: "set-route", route })),
    ],
  };
};
