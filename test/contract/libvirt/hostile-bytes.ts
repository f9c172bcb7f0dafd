import fc from "fast-check";

/** A number that counts something, or any. */
export const word = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 0xffff_ffff }));

type Mutation = (bytes: Buffer) => Buffer;

const flip = fc.tuple(fc.nat(), fc.nat(7)).map(([at, bit]): Mutation => (bytes) => {
  const changed = Buffer.from(bytes);
  const index = changed.length === 0 ? 0 : at % changed.length;
  if (changed.length > 0) changed[index] = (changed[index] ?? 0) ^ (1 << bit);
  return changed;
});
const cut = fc.nat().map(
  (at): Mutation =>
    (bytes) =>
      bytes.subarray(0, bytes.length === 0 ? 0 : at % bytes.length),
);
const insert = fc
  .tuple(fc.nat(), fc.uint8Array({ maxLength: 40 }))
  .map(([at, extra]): Mutation => (bytes) => {
    const index = at % (bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, index), extra, bytes.subarray(index)]);
  });
const repeat = fc.constant<Mutation>((bytes) => Buffer.concat([bytes, bytes]));
const setWord = fc.tuple(fc.nat(10), word).map(([index, value]): Mutation => (bytes) => {
  const changed = Buffer.from(bytes);
  if (changed.length >= (index + 1) * 4) changed.writeUInt32BE(value, index * 4);
  return changed;
});

/** Up to four changes, one after the other. */
export const mutations = fc.array(fc.oneof(flip, cut, insert, repeat, setWord), { maxLength: 4 }).map(
  (changes): Mutation =>
    (bytes) =>
      changes.reduce<Buffer>((changed, change) => change(changed), bytes),
);

/** What a call has come to: "resolved", or the name of its error. */
export const outcomeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: Error) => error.name,
  );

/** The same, or "still pending" when it has come to nothing yet. */
export const byNow = (outcome: Promise<string>): Promise<string> =>
  Promise.race([outcome, new Promise<string>((resolve) => setImmediate(resolve, "still pending"))]);
