/**
 * A node belongs to one cluster. An agent that is pointed at another one would
 * find no object for any guest here, and would take them all for orphans.
 */
export class WrongClusterError extends Error {
  override readonly name = "WrongClusterError";
}

export interface ClusterIdentityOptions {
  /** UID of the namespace kube-system: lives as long as the cluster. */
  readonly clusterUid: string;
  /** The UID that an agent on this node has written down before. */
  readonly remembered: string | undefined;
  /** Whether anything on this host carries our mark. */
  readonly holdsGuests: boolean;
  /** Where the UID is written down; for the message. */
  readonly file: string;
}

/** Whether the UID is to be written down; throws WrongClusterError when the guests here belong to another cluster. */
export const checkClusterIdentity = (options: ClusterIdentityOptions): "known" | "adopt" => {
  const { clusterUid, remembered, holdsGuests, file } = options;
  if (remembered === clusterUid) return "known";
  if (remembered === undefined || !holdsGuests) return "adopt";
  throw new WrongClusterError(
    `this node holds guests of the cluster ${remembered}, but the kubeconfig leads to ${clusterUid}. ` +
      `Correct --kubeconfig. If that cluster is gone and its guests are to be removed, delete ${file} and start again.`,
  );
};
