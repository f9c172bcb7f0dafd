import { requireMachine } from "../machines.ts";
import type { Command, Flag, Invocation } from "../command.ts";
import { CommandFailedError, UsageError } from "../errors.ts";
import type { Session } from "../session.ts";
import { hostNameOf, knownHostsIn, sshOptions, type Destination } from "../ssh/options.ts";
import { machineOf, readCopyPlace, readLogin, readUser, type CopyPlace } from "../ssh/targets.ts";
import { readPorts } from "./port-forward.ts";

const keyFlags: readonly Flag[] = [
  {
    name: "identity-file",
    short: "i",
    kind: "list",
    placeholder: "FILE",
    description: "private key",
    completes: "file",
  },
  {
    name: "port",
    short: "p",
    kind: "text",
    placeholder: "PORT",
    description: "port of the guest's ssh server; default 22",
  },
  {
    name: "ssh-option",
    short: "o",
    kind: "list",
    placeholder: "NAME=VALUE",
    description: "an option of ssh_config(5)",
  },
];

const HOW = [
  "The connection goes through the API server and the machine's node, so that it works wherever kubectl does. Host keys are remembered by the machine's UID in a file of their own: a machine that was made anew under an old name is no stranger, and another one in its place is.",
  "For ~/.ssh/config the host is called VM.NAMESPACE.vireo.",
] as const;

export const ssh: Command = {
  name: "ssh",
  summary: "Logs in to a guest",
  description: ["Runs this system's ssh.", ...HOW],
  arguments: [{ name: "[USER@]VM", description: "the machine, and who to be there", completes: "machine" }],
  flags: [
    {
      name: "login",
      short: "l",
      kind: "text",
      placeholder: "USER",
      description: "who to be there; default: what ssh takes",
    },
    ...keyFlags,
  ],
  handsOn: "SSH-ARGUMENT",
  examples: [
    { comment: "a shell", command: "kubectl vireo ssh debian@web" },
    {
      comment: "a command, and a port of the guest's own network",
      command: "kubectl vireo ssh debian@web -L 5432:db:5432 uptime",
    },
  ],
  run: async (invocation, session) => {
    const { user, machine } = readLogin(invocation.word("[USER@]VM"));
    const login = invocation.text("login");
    const destination = await destinationOf(session, invocation, machine);
    const who = login === undefined ? user : readUser(login);
    const host = hostNameOf(destination);
    const args = [
      ...userOptions(invocation),
      ...(await ownOptions(session, invocation, destination)),
      who === undefined ? host : `${who}@${host}`,
      ...invocation.rest,
    ];
    return runSystemProgram(session, "ssh", args);
  },
};

export const scp: Command = {
  name: "scp",
  summary: "Copies files to and from a guest",
  description: ["Runs this system's scp. Write VM:PATH for what is in the guest.", ...HOW],
  arguments: [
    { name: "SOURCE", description: "PATH, or [USER@]VM:PATH", count: "many", completes: "file" },
    { name: "TARGET", description: "PATH, or [USER@]VM:PATH", completes: "file" },
  ],
  flags: [
    { name: "recursive", short: "r", kind: "switch", description: "whole directories" },
    { name: "preserve", kind: "switch", description: "keep times and modes" },
    ...keyFlags,
  ],
  examples: [
    { comment: "into the guest", command: "kubectl vireo scp -r ./site debian@web:/srv/www" },
    { comment: "out of it", command: "kubectl vireo scp debian@web:/var/log/syslog ." },
  ],
  run: async (invocation, session) => {
    const places = [...invocation.words("SOURCE"), invocation.word("TARGET")].map(readCopyPlace);
    const destination = await destinationOf(session, invocation, machineOf(places));
    const args = [
      ...(invocation.isOn("recursive") ? ["-r"] : []),
      ...(invocation.isOn("preserve") ? ["-p"] : []),
      ...userOptions(invocation),
      ...(await ownOptions(session, invocation, destination)),
      "--",
      ...places.map((place) => placeText(place, hostNameOf(destination))),
    ];
    return runSystemProgram(session, "scp", args);
  },
};

/** A local path with a colon in it would be another host's. */
const placeText = (place: CopyPlace, host: string): string => {
  if (place.kind === "local") return place.path;
  const { user } = place.login;
  return `${user === undefined ? "" : `${user}@`}${host}:${place.path}`;
};

const destinationOf = async (
  session: Session,
  invocation: Invocation,
  machine: string,
): Promise<Destination> => {
  const text = invocation.text("port") ?? "22";
  const { remote, local } = readPorts(text);
  if (remote !== local) throw new UsageError(`--port: ${JSON.stringify(text)} is not a port`);
  const { namespace } = await session.cluster();
  const { object } = await requireMachine(session, machine);
  const { powerState } = object.status?.guest ?? {};
  if (powerState !== undefined && powerState !== "Running")
    session.say.warning(`the guest of ${machine} is ${powerState}, and will hardly answer`);
  return { machine, namespace, uid: object.metadata.uid, port: remote };
};

const userOptions = (invocation: Invocation): readonly string[] => [
  ...invocation.list("identity-file").flatMap((file) => ["-i", file]),
  ...invocation.list("ssh-option").flatMap((option) => ["-o", option]),
];

const ownOptions = async (
  session: Session,
  invocation: Invocation,
  destination: Destination,
): Promise<readonly string[]> =>
  sshOptions(destination, {
    self: session.host.self,
    kubeconfig: invocation.text("kubeconfig"),
    context: invocation.text("context"),
    knownHosts: knownHostsIn(await session.host.files.stateDirectory()),
  });

const runSystemProgram = async (session: Session, name: string, args: readonly string[]): Promise<number> => {
  const { programs } = session.host;
  const file = await programs.find([name]);
  if (file === undefined)
    throw new CommandFailedError(`there is no ${name} in your PATH: install OpenSSH's client`);
  return programs.run(file, args, { signal: session.signal });
};
