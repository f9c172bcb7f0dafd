import {
  type Subresource,
  SUBRESOURCE_GROUP,
  SUBRESOURCE_VERSION,
  subresources,
} from "../api/subresources.ts";
import { objectName } from "../api/fields.ts";
import { ApiProblem } from "./problem.ts";

/** Which subresource of which machine is asked for. */
export interface Target {
  readonly namespace: string;
  readonly name: string;
  readonly subresource: Subresource;
}

const PREFIX = ["", "apis", SUBRESOURCE_GROUP, SUBRESOURCE_VERSION, "namespaces"];

/** Reads a path. Throws ApiProblem when it is none of a machine's subresource. */
export const readTarget = (pathname: string): Target => {
  const segments = pathname.split("/");
  const [namespace, resource, name, subresource, ...more] = segments.slice(PREFIX.length);
  const isOurs = PREFIX.every((segment, index) => segments[index] === segment);
  if (!isOurs || resource !== "virtualmachines" || more.length > 0 || !isSubresource(subresource))
    throw new ApiProblem("NotFound", `the server has no ${pathname}`);
  if (!objectName.safeParse(namespace).success || !objectName.safeParse(name).success)
    throw new ApiProblem("NotFound", `${pathname}: no machine can be called like that`);
  return { namespace: namespace ?? "", name: name ?? "", subresource };
};

const isSubresource = (text: string | undefined): text is Subresource =>
  text !== undefined && Object.hasOwn(subresources, text);
