import { machineArgument, type Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { machineName, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import { write } from "../print.ts";

export const log: Command = {
  name: "log",
  summary: "Prints what a guest's serial console has said",
  description: ["As far as its node keeps it; also of a guest that is off."],
  arguments: [machineArgument],
  flags: [],
  examples: [{ comment: "why does it not boot?", command: "kubectl vireo log web | tail" }],
  run: async (invocation, session) => {
    const name = readMachineName(invocation.word("VM"));
    await requireMachine(session, name);
    const cluster = await session.cluster();
    await write(session.host.stdout, await cluster.read(name, "log", session.signal));
    return undefined;
  },
};

export const screenshot: Command = {
  name: "screenshot",
  summary: "Saves a picture of a guest's screen",
  description: ["A PNG of what the screen shows at this moment."],
  arguments: [
    machineArgument,
    { name: "FILE", description: 'the file; "-" is standard output', completes: "file" },
  ],
  flags: [],
  examples: [{ comment: "look at it later", command: "kubectl vireo screenshot web web.png" }],
  run: async (invocation, session) => {
    const name = readMachineName(invocation.word("VM"));
    const file = invocation.word("FILE");
    const { stdout, files } = session.host;
    if (file === "-" && stdout.isTTY === true)
      throw new UsageError("a picture is not for a terminal: name a file, or redirect standard output");
    const { object } = await requireMachine(session, name);
    const cluster = await session.cluster();
    const picture = await cluster.read(name, "screenshot", session.signal);
    if (file === "-") await write(stdout, picture);
    else {
      await files.write(file, picture);
      await write(stdout, `the screen of ${machineName(object)} is in ${file}\n`);
    }
    return undefined;
  },
};
