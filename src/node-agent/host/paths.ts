import { join } from "node:path";

const uidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether the text is a UID as the API server gives them: a UUID in lower case. */
export const isUid = (text: string): boolean => uidPattern.test(text);

/** Throws RangeError unless the text is a UID. */
export const requireUid = (text: string): void => {
  if (!isUid(text))
    throw new RangeError(`${JSON.stringify(text)} is not a UID: refusing to make a path of it`);
};

/**
 * The path of something that belongs to one object: `<directory>/<uid>/<names…>`.
 *
 * Only UIDs enter host paths, so that no name that a user chose ever does.
 * Throws RangeError when `uid` is not one; `names` are the caller's own words.
 */
export const uidPath = (directory: string, uid: string, ...names: readonly string[]): string => {
  requireUid(uid);
  return join(directory, uid, ...names);
};
