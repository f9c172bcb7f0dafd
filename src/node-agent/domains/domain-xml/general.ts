import { domainName } from "../owner.ts";
import { restartSettings } from "../settings.ts";
import type { Configurator } from "./configurator.ts";
import { element, readableText } from "./xml.ts";

const NAMESPACE = "https://vireo.dev/xmlns/domain/1";

/**
 * Identity, and names for people: `virsh list --title` shows which machine a
 * guest is. The metadata also keeps what the guest is started with, for a fresh
 * agent to compare with what is asked for by then: see settings.ts.
 * https://libvirt.org/formatdomain.html#general-metadata
 */
export const general: Configurator = (want) => ({
  domain: [
    element("name", {}, domainName(want.vmUid)),
    element("uuid", {}, want.vmUid),
    element("title", {}, readableText(`${want.namespace}/${want.name}`)),
    element(
      "metadata",
      {},
      element(
        "vireo:machine",
        { "xmlns:vireo": NAMESPACE },
        element("vireo:namespace", {}, readableText(want.namespace)),
        element("vireo:name", {}, readableText(want.name)),
        ...[...restartSettings(want)].map(([path, value]) => element("vireo:setting", { path, value })),
      ),
    ),
  ],
});
