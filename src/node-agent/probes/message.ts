const MAX_CHARACTERS = 256;

/**
 * One short line of what somebody else said: a guest chooses some of these
 * words, and they go to a status, to events and to logs.
 */
export const oneLine = (text: string): string => {
  const line = text.replaceAll(/[\p{C}\p{Z}]+/gu, " ").trim();
  const characters = Array.from(line);
  return characters.length <= MAX_CHARACTERS ? line : `${characters.slice(0, MAX_CHARACTERS).join("")}…`;
};
