import { find, findAll, type XmlElement } from "./domain-xml/xml.ts";
import type { LiveScreens } from "./live.ts";
import type { LiveContext } from "./running-guest.ts";
import type { GuestSockets } from "./types.ts";

const graphicsSocket = (domain: XmlElement, protocol: string): string | undefined => {
  const graphics = findAll(domain, "devices", "graphics").find(
    ({ attributes }) => attributes["type"] === protocol,
  );
  return graphics && find(graphics, "listen")?.attributes["socket"];
};

/** A guest that an agent of before has started has a pty in place of the socket. */
const consoleSocket = (domain: XmlElement): string | undefined => {
  const serial = find(domain, "devices", "serial");
  return serial?.attributes["type"] === "unix" ? find(serial, "source")?.attributes["path"] : undefined;
};

export const createLiveScreens = ({ libvirt, running }: LiveContext): LiveScreens => ({
  screenshot: async (vmUid, options) => {
    const { ref } = await running(vmUid, options);
    return (await libvirt.screenshot(ref, options)).bytes;
  },
  sockets: async (vmUid, options): Promise<GuestSockets> => {
    const { xml } = await running(vmUid, options);
    return {
      console: consoleSocket(xml),
      vnc: graphicsSocket(xml, "vnc"),
      spice: graphicsSocket(xml, "spice"),
    };
  },
});
