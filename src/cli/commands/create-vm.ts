import { apiVersionOf } from "../../api/resource.ts";
import { virtualMachines } from "../../api/virtual-machine.ts";
import type { Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { machineFlags, metadataFlags } from "../machine-flags.ts";
import { checkSpec, imageOf, metadataOf, sourceOf, specOf } from "../machine-spec.ts";
import { readName } from "../names.ts";
import { json, write, yaml } from "../print.ts";

export const createVm: Command = {
  name: "create vm",
  summary: "Prints the manifest of a machine",
  description: [
    "Nothing is created and no cluster is needed: apply what is printed, or keep it in your repository. Every field is checked before.",
  ],
  arguments: [{ name: "NAME", description: "name of the machine to be" }],
  flags: [
    {
      name: "image",
      kind: "text",
      placeholder: "[NAMESPACE/]NAME",
      description: "Image that the root disk starts as",
      completes: "image",
    },
    {
      name: "from",
      kind: "text",
      placeholder: "KIND/NAME",
      description: "what the root disk starts as in place of an image: vm/NAME, snapshot/NAME or volume/NAME",
      completes: "disk",
    },
    ...machineFlags,
    ...metadataFlags,
    {
      name: "output",
      short: "o",
      kind: "text",
      placeholder: "FORMAT",
      choices: ["yaml", "json"],
      description: "yaml (default) or json",
    },
  ],
  examples: [
    {
      comment: "create it at once",
      command:
        "kubectl vireo create vm web --flavor small --image debian --key-pair me --network default | kubectl apply -f -",
    },
    {
      comment: "two networks, an address of its own choice, a data disk, and a program to run at first boot",
      command:
        "kubectl vireo create vm db --vcpus 2 --memory 4Gi --disk 20Gi --image debian --network lan,address=10.0.0.9 --network backup --volume data --user-data init.yaml",
    },
  ],
  run: async (invocation, session) => {
    const name = readName("NAME", invocation.word("NAME"));
    const namespace = invocation.text("namespace");
    if (namespace !== undefined) readName("--namespace", namespace);
    const from = invocation.text("from");
    const file = invocation.text("user-data");
    if (file !== undefined && invocation.text("user-data-secret") !== undefined)
      throw new UsageError("at most one of --user-data and --user-data-secret may be given");
    const userData = file === undefined ? undefined : await session.host.files.read(file);
    const spec = {
      ...imageOf(invocation.text("image")),
      ...(from !== undefined && { source: sourceOf("--from", from) }),
      ...specOf(invocation, userData),
    };
    checkSpec(spec);
    const manifest = {
      apiVersion: apiVersionOf(virtualMachines),
      kind: virtualMachines.kind,
      metadata: { name, ...(namespace !== undefined && { namespace }), ...metadataOf(invocation) },
      spec,
    };
    const text = invocation.text("output") === "json" ? json(manifest) : yaml(manifest);
    await write(session.host.stdout, text);
    return undefined;
  },
};
