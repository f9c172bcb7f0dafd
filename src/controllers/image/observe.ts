import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import type { SourceFacts } from "../disk-source/judge.ts";
import { observeSource } from "../disk-source/observe.ts";
import type { NodeReport } from "./judge.ts";

export interface ImageFacts {
  readonly image: Image;
  /** What the nodes that know the image say of it. */
  readonly reports: readonly NodeReport[];
  /** The disk that it is to be made of; undefined for an image that is fetched, and once its origin is chosen. */
  readonly source: SourceFacts | undefined;
  /** The node that makes it; undefined also when there is none of that name any more. */
  readonly maker: Hypervisor | undefined;
}

export const observeImage = (stores: Stores, key: ObjectKey): ImageFacts | undefined => {
  const image = stores.images.get(key);
  if (image === undefined) return undefined;
  const origin = image.status?.origin;
  return {
    image,
    reports: reportsOf(image, stores.hypervisors.list()),
    source: origin === undefined ? observeSource(stores, key.namespace, image.spec.source) : undefined,
    maker: origin === undefined ? undefined : stores.hypervisors.get({ name: origin.nodeName }),
  };
};

/** An Image made anew under an old name is another image: nodes know it by its uid. */
export const reportsOf = (image: Image, hypervisors: readonly Hypervisor[]): readonly NodeReport[] =>
  hypervisors.flatMap(({ metadata, status }) =>
    (status?.images ?? [])
      .filter((cached) => cached.uid === image.metadata.uid)
      .map((cached) => ({ node: metadata.name, image: cached })),
  );
