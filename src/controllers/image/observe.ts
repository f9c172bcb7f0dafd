import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import type { NodeReport } from "./judge.ts";

export interface ImageFacts {
  readonly image: Image;
  /** What the nodes that know the image say of it. */
  readonly reports: readonly NodeReport[];
}

export const observeImage = (stores: Stores, key: ObjectKey): ImageFacts | undefined => {
  const image = stores.images.get(key);
  if (image === undefined) return undefined;
  return { image, reports: reportsOf(image, stores.hypervisors.list()) };
};

/** An Image made anew under an old name is another image: nodes know it by its uid. */
export const reportsOf = (image: Image, hypervisors: readonly Hypervisor[]): readonly NodeReport[] =>
  hypervisors.flatMap(({ metadata, status }) =>
    (status?.images ?? [])
      .filter((cached) => cached.uid === image.metadata.uid)
      .map((cached) => ({ node: metadata.name, image: cached })),
  );
