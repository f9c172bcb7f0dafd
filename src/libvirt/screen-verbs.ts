import type { DownloadOnLane } from "./call-on-lane.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions, DomainRef } from "./types.ts";

export interface ScreenshotOptions extends CallOptions {
  /** Which of the guest's screens. Default 0, the first. */
  readonly screen?: number;
  /** Rejects with StreamLimitError when the image is larger. Default 64 MiB: more than 8K without compression. */
  readonly maxBytes?: number;
}

export interface Screenshot {
  /** image/png, or image/x-portable-pixmap from a QEMU before 7.1. */
  readonly mimeType: string;
  readonly bytes: Buffer;
}

/** What a guest shows. */
export interface ScreenVerbs {
  /**
   * Takes a picture of the screen of a running domain.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainScreenshot
   */
  screenshot(domain: DomainRef, options?: ScreenshotOptions): Promise<Screenshot>;
}

const MAX_BYTES_DEFAULT = 67_108_864;

export const screenVerbs = (download: DownloadOnLane): ScreenVerbs => ({
  screenshot: async (dom, { screen = 0, maxBytes = MAX_BYTES_DEFAULT, ...options } = {}) => {
    const args = { dom, screen, flags: 0 };
    const bounds = { maxBytes, ...options };
    const { result, bytes } = await download("long", procedures.domainScreenshot, args, bounds);
    return { mimeType: result.mime ?? "application/octet-stream", bytes };
  },
});
