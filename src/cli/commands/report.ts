import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { machineArgument, type Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { machineName, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import { table, write } from "../print.ts";
import { collect } from "../report/collect.ts";
import { tar, type ArchiveFile } from "../report/tar.ts";
import type { Session } from "../session.ts";
import { stampedName } from "./snapshots.ts";

export const reportCommand: Command = {
  name: "report",
  summary: "Collects what helps to find out what is wrong with a machine",
  description: [
    "The machine and the objects that it names or that name it, their events, its node's Hypervisor, and its console log, in a .tar.gz or a directory.",
    "Secrets are never read. User data are replaced by their length and digest, and queries of addresses are left out; public keys stay. The console log is what the guest has printed: --no-console leaves it out.",
  ],
  arguments: [machineArgument],
  flags: [
    {
      name: "file",
      short: "f",
      kind: "text",
      placeholder: "FILE",
      description: "the archive; default: named after the machine and the time",
      completes: "file",
    },
    {
      name: "directory",
      short: "d",
      kind: "text",
      placeholder: "DIRECTORY",
      description: "write the files into this new directory instead",
      completes: "file",
    },
    { name: "console", kind: "switch", on: true, description: "take the console log in, too" },
  ],
  examples: [{ comment: "for a bug report", command: "kubectl vireo report web" }],
  run: async (invocation, session) => {
    const file = invocation.text("file");
    const directory = invocation.text("directory");
    if (file !== undefined && directory !== undefined)
      throw new UsageError("at most one of --file and --directory may be given");
    const machine = await requireMachine(session, readMachineName(invocation.word("VM")));
    const { files, missing } = await collect(session, machine, { console: invocation.isOn("console") });
    for (const what of missing) session.say.warning(`not in it: ${what}`);
    const now = session.clock.now();
    const name = stampedName(`vireo-report-${machine.object.metadata.name}`, now).slice(-155);
    const host = session.host;
    if (directory === undefined) {
      const archive = tar(files, { directory: name, modifiedAt: new Date(now) });
      await host.files.write(file ?? `${name}.tar.gz`, await promisify(gzip)(archive));
    } else await writeDirectory(session, directory, files);
    const rows = files.map(({ path, content }) => [path, String(content.length)]);
    await write(host.stdout, table(["FILE", "BYTES"], rows));
    session.say.progress(
      `the report of ${machineName(machine.object)} is in ${directory ?? file ?? `${name}.tar.gz`}`,
    );
    return undefined;
  },
};

const writeDirectory = async (
  { host }: Session,
  directory: string,
  files: readonly ArchiveFile[],
): Promise<void> => {
  await host.files.makeDirectory(directory);
  await host.files.makeDirectory(join(directory, "objects"));
  for (const { path, content } of files) await host.files.write(join(directory, path), content);
};
