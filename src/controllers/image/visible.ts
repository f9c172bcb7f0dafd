import type { Image } from "../../api/image.ts";
import type { ObjectKey } from "../../kube/index.ts";

/** How a machine or a Volume names an Image. */
export interface ImageReference {
  readonly name: string;
  /** Namespace of the Image. Default: that of whoever names it. */
  readonly imageNamespace?: string | undefined;
  /** Namespace of whoever names it. */
  readonly userNamespace: string;
}

/** Where the Image is, if there is one. */
export const imageKeyOf = ({ name, imageNamespace, userNamespace }: ImageReference): ObjectKey => ({
  namespace: imageNamespace ?? userNamespace,
  name,
});

/** May machines and volumes of this namespace use the Image? */
export const isVisibleTo = ({ metadata, spec }: Image, userNamespace: string): boolean => {
  if (metadata.namespace === userNamespace) return true;
  switch (spec.visibility) {
    case "Private":
      return false;
    case "Shared":
      return spec.sharedWith.includes(userNamespace);
    case "Public":
      return true;
  }
};

/**
 * The Image that is meant. Whoever may not use it is answered as if there were
 * none: the names of other people's images are theirs.
 *
 * @param get reads the store
 */
export const findImage = (
  get: (key: ObjectKey) => Image | undefined,
  reference: ImageReference,
): Image | undefined => {
  const image = get(imageKeyOf(reference));
  return image !== undefined && isVisibleTo(image, reference.userNamespace) ? image : undefined;
};

/** What is said when there is none, or none that may be used: the same sentence. */
export const imageNotFoundMessage = (reference: ImageReference): string => {
  const { name, namespace } = imageKeyOf(reference);
  return namespace === reference.userNamespace
    ? `Image ${name} does not exist in namespace ${namespace}. Make it there.`
    : `Image ${name} does not exist in namespace ${namespace}, or namespace ${reference.userNamespace} may not use it (spec.visibility, spec.sharedWith).`;
};
