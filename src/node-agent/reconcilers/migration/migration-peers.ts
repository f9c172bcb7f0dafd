import { createHash } from "node:crypto";
import { buffer, text } from "node:stream/consumers";
import { z } from "zod";
import { type PeerAddress, type PeerClient, PeerRefusal } from "../../../pki/index.ts";
import type { TargetAgent } from "../../migrations/index.ts";
import { type DiskManifest, diskManifest } from "../../volumes/index.ts";
import type { DiskKind } from "../../volumes/types.ts";

/** What the agents of the two ends say to each other: see migration-routes.ts for the other half. */

/** A file of a disk is followed by its SHA-256, which is known when all of it has been read. */
export const DIGEST_BYTES = 32;
/** Reason of an answer: the machine is to have such a disk, and it was not made yet. */
export const NO_DISK = "NoDisk";
/** Letting a guest go on may take libvirt a while, and nothing is heard meanwhile. */
const FINISH_MS = 10 * 60_000;
const COOKIE_BYTES = 4 * 2 ** 20;

export const migrationPath = (migrationUid: string, ...rest: readonly string[]): string =>
  `/v1/migrations/${[migrationUid, ...rest].map(encodeURIComponent).join("/")}`;

interface Options {
  readonly signal: AbortSignal;
}

/** What the target asks of the source's agent. */
export interface SourceAgent {
  /** A disk of the machine on the source, by kind and UID; undefined when there is none yet. */
  disk(kind: DiskKind, uid: string, options: Options): Promise<DiskManifest | undefined>;
  /** Throws unless the file has come whole. */
  file(
    disk: { readonly kind: DiskKind; readonly uid: string },
    name: string,
    options: Options,
  ): AsyncIterable<Uint8Array>;
}

export interface MigrationPeersOptions {
  readonly peers: PeerClient;
  /** "address:port" of that node's agent; undefined while it serves nothing. */
  readonly endpointOf: (nodeName: string, options: Options) => Promise<string | undefined>;
}

export interface MigrationPeers {
  source(nodeName: string, migrationUid: string): SourceAgent;
  target(nodeName: string, migrationUid: string): TargetAgent;
}

const errorOf = (what: string): Error => new Error(`a file of a disk has not come whole: ${what}`);

/** All but the last bytes, which must be the digest of the others. */
async function* checked(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let tail = Buffer.alloc(0);
  for await (const chunk of body) {
    const known = Buffer.concat([tail, chunk]);
    const end = Math.max(0, known.length - DIGEST_BYTES);
    const content = known.subarray(0, end);
    tail = known.subarray(end);
    hash.update(content);
    if (content.length > 0) yield content;
  }
  if (tail.length < DIGEST_BYTES) throw errorOf("it ends too soon");
  if (!hash.digest().equals(tail)) throw errorOf("its digest is another one");
}

const answerOf = z.object({ cookie: z.base64() });

export const createMigrationPeers = ({ peers, endpointOf }: MigrationPeersOptions): MigrationPeers => {
  const addressOf = async (nodeName: string, options: Options): Promise<PeerAddress> => {
    const endpoint = await endpointOf(nodeName, options);
    if (endpoint === undefined) throw new Error(`the agent of node ${nodeName} serves nothing at the moment`);
    return { endpoint, identity: { kind: "node-agent", nodeName } };
  };
  return {
    source: (nodeName, uid) => ({
      disk: async (kind, diskUid, { signal }) => {
        const path = migrationPath(uid, "disks", kind, diskUid);
        try {
          const answer = await peers.request(await addressOf(nodeName, { signal }), { path, signal });
          return diskManifest.parse(JSON.parse(await text(answer)));
        } catch (error) {
          if (error instanceof PeerRefusal && error.reason === NO_DISK) return undefined;
          throw error;
        }
      },
      file: async function* (disk, name, { signal }) {
        const query = new URLSearchParams({ name });
        const path = `${migrationPath(uid, "files", disk.kind, disk.uid)}?${query.toString()}`;
        yield* checked(await peers.request(await addressOf(nodeName, { signal }), { path, signal }));
      },
    }),
    target: (nodeName, uid) => {
      // The guest stands still while it is finished: by then it is known where to ask.
      let known: PeerAddress | undefined;
      const address = async (options: Options): Promise<PeerAddress> =>
        (known ??= await addressOf(nodeName, options));
      const post = async (step: string, body: string, { signal }: Options, idleTimeoutMs?: number) =>
        peers.request(await address({ signal }), {
          method: "POST",
          path: migrationPath(uid, step),
          body,
          signal,
          ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
        });
      const exchange = async (step: string, cookie: Buffer, options: Options): Promise<Buffer> => {
        const answer = await post(
          step,
          JSON.stringify({ cookie: cookie.toString("base64") }),
          options,
          FINISH_MS,
        );
        const said = answerOf.parse(JSON.parse((await buffer(answer)).toString("utf8")));
        return Buffer.from(said.cookie, "base64");
      };
      return {
        describe: async (xml, options) => text(await post("describe", xml, options, FINISH_MS)),
        prepare: (cookie, options) => exchange("prepare", cookie, options),
        finish: (cookie, options) => exchange("finish", cookie, options),
        open: async (channel, { signal }) =>
          peers.upgrade(await address({ signal }), { path: migrationPath(uid, channel), signal }),
      };
    },
  };
};

/** The body of a request that hands a cookie on. */
export const cookieIn = (body: string): Buffer =>
  Buffer.from(answerOf.parse(JSON.parse(body)).cookie, "base64");

export const MAX_BODY_BYTES = 2 * COOKIE_BYTES;
