import { describe, expect, test } from "@jest/globals";
import type { Image } from "../../../src/api/image.ts";
import { findImage, imageNotFoundMessage } from "../../../src/controllers/image/visible.ts";
import { formatKey } from "../../../src/kube/index.ts";
import { imageWith } from "./objects.ts";

const golden = (spec: Partial<Image["spec"]>): Image => imageWith(spec, { namespace: "golden" });

const reference = { name: "tiny", imageNamespace: "golden", userNamespace: "shop" };

/** Is the Image of namespace golden found from namespace shop? */
const isFound = (image: Image): boolean =>
  findImage((key) => (formatKey(key) === "golden/tiny" ? image : undefined), reference) !== undefined;

describe("An Image of another namespace", () => {
  test.each<[string, Image, boolean]>([
    ["that is Private is not found", golden({ visibility: "Private" }), false],
    ["that is Public is found", golden({ visibility: "Public" }), true],
    [
      "that is Shared with the namespace is found",
      golden({ visibility: "Shared", sharedWith: ["other", "shop"] }),
      true,
    ],
    [
      "that is Shared with others is not found",
      golden({ visibility: "Shared", sharedWith: ["shopping"] }),
      false,
    ],
    [
      "that names the namespace and is Private after all is not found",
      golden({ visibility: "Private", sharedWith: ["shop"] }),
      false,
    ],
  ])("%s", (_, image, expected) => {
    expect(isFound(image)).toBe(expected);
  });

  test("that may not be used is told of as one that does not exist", () => {
    const message = imageNotFoundMessage(reference);
    expect(message).toBe(
      "Image tiny does not exist in namespace golden, or namespace shop may not use it (spec.visibility, spec.sharedWith).",
    );
    expect(findImage(() => golden({}), reference)).toEqual(findImage(() => undefined, reference));
  });
});

test("an Image of the own namespace is found whatever its visibility", () => {
  const own = { name: "tiny", userNamespace: "default" };
  expect(findImage(() => imageWith({ visibility: "Private" }), own)).toBeDefined();
});
