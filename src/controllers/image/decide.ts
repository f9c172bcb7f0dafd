import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import { judgeImage } from "./judge.ts";
import { judgeMaking } from "./making.ts";
import type { ImageFacts } from "./observe.ts";
import { imageStatus, type ImageStatus } from "./status.ts";

export interface ImageDecision {
  /** To be written; absent when the stored one says it already. */
  readonly status?: ImageStatus;
  readonly announcements: readonly Announcement[];
}

export const decideImage = (facts: ImageFacts, now: Date): ImageDecision => {
  const { image, reports } = facts;
  const status = imageStatus(image, judgeImage(image, reports), judgeMaking(facts), now);
  if (isSameStatus(image.status, status)) return { announcements: [] };
  const [trouble] = announceTrouble("Ready", image.status?.conditions, status.conditions ?? []);
  // That it is being made is no trouble.
  const announcements = trouble === undefined || trouble.reason === "Making" ? [] : [trouble];
  return { status, announcements };
};
