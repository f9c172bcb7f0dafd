import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { MigrationPhase, VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { isOn } from "../machine/guest-record.ts";
import { isUid } from "../../host/paths.ts";
import { arriveAsAsked, describeAsAsked, finishAsAsked } from "./arrive.ts";
import type { MigrationContext } from "./migration-context.ts";
import { cookieIn, MAX_BODY_BYTES, NO_DISK } from "./migration-peers.ts";
import { channels, type MigrationRole } from "../../migrations/index.ts";
import { type PeerCall, PeerProblemError, type Route } from "../../server/index.ts";
import { DiskBusyError } from "../../volumes/index.ts";
import type { DiskKind, DiskRef } from "../../volumes/types.ts";

const notFound = (message: string): PeerProblemError => new PeerProblemError(404, "NotFound", message);
const conflict = (message: string): PeerProblemError => new PeerProblemError(409, "Conflict", message);

const otherEnd = { source: "targetNode", target: "sourceNode" } as const;

/** The migration that the path names, when this node is that end of it and the caller the other one. */
const migrationOf = (
  { params, peer }: PeerCall,
  role: MigrationRole,
  { migrations }: MigrationContext,
): VirtualMachineMigration => {
  const { uid = "" } = params;
  const migration = isUid(uid) ? migrations.get(uid) : undefined;
  const caller = peer.kind === "node-agent" ? peer.nodeName : undefined;
  if (
    migration === undefined ||
    migrations.roleOf(migration) !== role ||
    migration.status?.[otherEnd[role]] !== caller
  )
    throw notFound(`this node is not the ${role} of a migration ${uid} with the node that asks`);
  return migration;
};

const bodyOf = async ({ body }: PeerCall): Promise<string> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new PeerProblemError(413, "TooLarge", "the body is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
};

/** While what there is to copy is told: also when it is compared with what has been copied. */
const TOLD: readonly (MigrationPhase | undefined)[] = ["Preparing", "Copying"];
const GIVEN_OUT: readonly (MigrationPhase | undefined)[] = ["Preparing"];

/** A disk of the machine that moves, in these phases of the migration. */
const diskOf = async (
  call: PeerCall,
  phases: readonly (MigrationPhase | undefined)[],
  context: MigrationContext,
): Promise<{ readonly ref: DiskRef; readonly isRunning: boolean }> => {
  const { signal, params } = call;
  const { status } = migrationOf(call, "source", context);
  const vmUid = status?.machineUid ?? "";
  const { kind, disk: uid = "" } = params;
  if (!phases.includes(status?.phase)) throw conflict(`nothing is copied in phase ${status?.phase}`);
  const volumes = context.machines.get(vmUid)?.status?.allocation?.volumes ?? [];
  const isIts = kind === "root" ? uid === vmUid : volumes.some((volume) => volume.uid === uid);
  if (!isIts || !isUid(uid)) throw notFound(`the machine is to have no disk ${kind} ${uid}`);
  const ref = await context.steps.volumes.disks.locate(kind as DiskKind, uid, { signal });
  if (ref === undefined)
    throw new PeerProblemError(404, NO_DISK, `disk ${kind} ${uid} of the machine is not on this node`);
  const domain = await context.steps.domains.observe(vmUid, { signal });
  const isRunning = isOn(domain);
  if (isRunning && status?.live === false) throw conflict("the guest is not off");
  return { ref, isRunning };
};

/** The content, and then its digest. */
async function* withDigest(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
  yield hash.digest();
}

const sourceRoutes = (context: MigrationContext): readonly Route[] => [
  {
    kind: "request",
    method: "GET",
    path: "/v1/migrations/:uid/disks/:kind/:disk",
    allow: "node-agent",
    handle: async (call) => {
      const { ref, isRunning } = await diskOf(call, TOLD, context);
      const { transfers } = context.steps.volumes;
      const manifest = await transfers
        .describe(ref, { isRunning }, { signal: call.signal })
        .catch((error: unknown) => {
          throw error instanceof DiskBusyError ? conflict(error.message) : error;
        });
      return { headers: { "content-type": "application/json" }, body: JSON.stringify(manifest) };
    },
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/migrations/:uid/files/:kind/:disk",
    allow: "node-agent",
    handle: async (call) => {
      const { ref, isRunning } = await diskOf(call, GIVEN_OUT, context);
      const name = call.query.get("name") ?? "";
      // Before the file is opened, which keeps the disk from being merged until it is closed.
      const chain = await context.steps.volumes.disks.find(ref, { signal: call.signal });
      if (isRunning && chain?.path.endsWith(`/${name}`) === true)
        throw conflict("the guest writes this file");
      const file = await context.steps.volumes.transfers.open(ref, name, { signal: call.signal });
      if (file === undefined) throw notFound(`the disk has no file ${JSON.stringify(name)}`);
      const body = Readable.from(withDigest(file.chunks()));
      body.once("close", () => void file.close());
      return { headers: { "content-type": "application/octet-stream" }, body };
    },
  },
];

const targetRoutes = (context: MigrationContext): readonly Route[] => [
  {
    kind: "request",
    method: "POST",
    path: "/v1/migrations/:uid/describe",
    allow: "node-agent",
    handle: async (call) => {
      const migration = migrationOf(call, "target", context);
      return { body: await describeAsAsked(migration, await bodyOf(call), context, call) };
    },
  },
  ...(["prepare", "finish"] as const).map((step): Route => ({
    kind: "request",
    method: "POST",
    path: `/v1/migrations/:uid/${step}`,
    allow: "node-agent",
    handle: async (call) => {
      const migration = migrationOf(call, "target", context);
      const cookie = cookieIn(await bodyOf(call));
      const act = step === "prepare" ? arriveAsAsked : finishAsAsked;
      const answer = await act(migration, cookie, context, call);
      return { body: JSON.stringify({ cookie: answer.toString("base64") }) };
    },
  })),
  ...channels.map((channel): Route => ({
    kind: "upgrade",
    path: `/v1/migrations/:uid/${channel}`,
    allow: "node-agent",
    handle: async (call) => {
      const { metadata } = migrationOf(call, "target", context);
      const session = context.room.incoming(metadata.uid);
      if (session === undefined) throw conflict("nothing listens for this migration");
      return session.open(channel, { signal: call.signal });
    },
  })),
];

/** What the agents of the two ends of a migration ask of each other. */
export const migrationRoutes = (context: MigrationContext): readonly Route[] => [
  ...sourceRoutes(context),
  ...targetRoutes(context),
];
