import type { Command } from "../command.ts";
import { completionScripts, shells } from "../completion/scripts.ts";
import { write } from "../print.ts";

export const completion: Command = {
  name: "completion",
  summary: "Prints a script that completes commands, flags and names",
  description: [
    'bash, zsh and fish complete kubectl-vireo. For kubectl itself, which asks a program beside its plugin: an executable file in your PATH, by the name of kubectl_complete-vireo, with what "completion kubectl" prints.',
    "Names of machines, snapshots, nodes and so on are asked of the cluster.",
  ],
  arguments: [{ name: "SHELL", description: "bash, zsh, fish or kubectl", choices: shells }],
  flags: [],
  examples: [
    { comment: "for this shell", command: "source <(kubectl vireo completion bash)" },
    {
      comment: 'for "kubectl vireo"',
      command:
        "kubectl vireo completion kubectl > ~/bin/kubectl_complete-vireo && chmod +x ~/bin/kubectl_complete-vireo",
    },
  ],
  run: async (invocation, session) => {
    const shell = shells.find((candidate) => candidate === invocation.word("SHELL")) ?? "bash";
    await write(session.host.stdout, completionScripts[shell]);
    return undefined;
  },
};
