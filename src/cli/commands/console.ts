import { runConsole } from "../console/console.ts";
import { machineArgument, type Command } from "../command.ts";
import { requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";

export const consoleCommand: Command = {
  name: "console",
  summary: "Connects this terminal with a guest's serial console",
  description: [
    "It begins with what the console said last. Every key goes to the guest, Ctrl-C too; Ctrl-] leaves. When the guest restarts, it connects again.",
    "Without a terminal, standard input goes to the guest and its output to standard output, until Ctrl-C.",
    'A serial line knows nothing of the size of your window: "stty rows 50 cols 160" in the guest tells it.',
  ],
  arguments: [machineArgument],
  flags: [
    {
      name: "reconnect",
      kind: "switch",
      on: true,
      description: "connect again when the guest ends or the connection breaks",
    },
  ],
  examples: [{ comment: "log in where there is no network", command: "kubectl vireo console web" }],
  runsUntilInterrupted: true,
  run: async (invocation, session) => {
    const { object } = await requireMachine(session, readMachineName(invocation.word("VM")));
    await runConsole(session, { machine: object.metadata.name, reconnect: invocation.isOn("reconnect") });
    return undefined;
  },
};
