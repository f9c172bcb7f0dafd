import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import { judgeImage } from "./judge.ts";
import type { ImageFacts } from "./observe.ts";
import { imageStatus, type ImageStatus } from "./status.ts";

export interface ImageDecision {
  /** To be written; absent when the stored one says it already. */
  readonly status?: ImageStatus;
  readonly announcements: readonly Announcement[];
}

export const decideImage = ({ image, reports }: ImageFacts, now: Date): ImageDecision => {
  const status = imageStatus(image, judgeImage(image, reports), now);
  if (isSameStatus(image.status, status)) return { announcements: [] };
  return {
    status,
    announcements: announceTrouble("Ready", image.status?.conditions, status.conditions ?? []),
  };
};
