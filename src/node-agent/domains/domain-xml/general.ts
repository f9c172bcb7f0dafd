import { domainName } from "../owner.ts";
import type { Configurator } from "./configurator.ts";
import { element, readableText } from "./xml.ts";

const NAMESPACE = "https://vireo.dev/xmlns/domain/1";

/**
 * Identity, and names for people: `virsh list --title` shows which machine a
 * guest is. https://libvirt.org/formatdomain.html#general-metadata
 */
export const general: Configurator = ({ vmUid, namespace, name }) => ({
  domain: [
    element("name", {}, domainName(vmUid)),
    element("uuid", {}, vmUid),
    element("title", {}, readableText(`${namespace}/${name}`)),
    element(
      "metadata",
      {},
      element(
        "vireo:machine",
        { "xmlns:vireo": NAMESPACE },
        element("vireo:namespace", {}, readableText(namespace)),
        element("vireo:name", {}, readableText(name)),
      ),
    ),
  ],
});
