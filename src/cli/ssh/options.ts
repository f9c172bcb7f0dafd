import { join } from "node:path";
import { UsageError } from "../errors.ts";

/** What ssh needs to know to reach a guest through the API server. */
export interface Destination {
  readonly machine: string;
  readonly namespace: string;
  /** UID of the machine: another one of the same name has other host keys. */
  readonly uid: string;
  readonly port: number;
}

export interface ProxySettings {
  /** Program and arguments that start this very program. */
  readonly self: readonly string[];
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** Our own known_hosts file. */
  readonly knownHosts: string;
}

/** The host name that ssh shows, and by which ~/.ssh/config may know the machine: web.shop.vireo. */
export const hostNameOf = ({ machine, namespace }: Destination): string => `${machine}.${namespace}.vireo`;

/**
 * Options for ssh and scp, after those of the user: of two that say the same, ssh takes the first.
 * https://man.openbsd.org/ssh_config
 */
export const sshOptions = (destination: Destination, settings: ProxySettings): readonly string[] => [
  "-o",
  `ProxyCommand=${proxyCommand(destination, settings)}`,
  "-o",
  `HostKeyAlias=vireo-${destination.uid}`,
  "-o",
  `UserKnownHostsFile=${quoteFile(settings.knownHosts)}`,
  // The first key is believed, as the guest made it a moment ago; another one later is refused.
  "-o",
  "StrictHostKeyChecking=accept-new",
  // UIDs are no secret, and whoever looks into the file wants to know what is what.
  "-o",
  "HashKnownHosts=no",
  // It would be that of 127.0.0.1, or nothing.
  "-o",
  "CheckHostIP=no",
];

/** ssh hands this to the user's shell, and nothing else can be handed over: each word is quoted for it. */
export const proxyCommand = (
  { machine, namespace, port }: Destination,
  { self, kubeconfig, context }: ProxySettings,
): string => {
  const flags = [
    ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]),
    ...(context === undefined ? [] : [`--context=${context}`]),
    `--namespace=${namespace}`,
  ];
  const words = [...self, "port-forward", "--stdio", ...flags, machine, String(port)];
  return words.map(quoteForProxyCommand).join(" ");
};

/**
 * One word for the user's shell, and then for ssh, to which a percent sign means
 * something. Quotes and backslashes stand outside of the quotes, since fish does
 * not read them there as a POSIX shell does.
 */
export const quoteForProxyCommand = (word: string): string => {
  refuseControls(word);
  return `'${word.replaceAll(/['\\]/gu, String.raw`'\$&'`)}'`.replaceAll("%", "%%");
};

/** A file name in an option that takes several. */
const quoteFile = (path: string): string => {
  refuseControls(path);
  if (path.includes('"'))
    throw new UsageError(`ssh cannot be given a file with a quotation mark in its name: ${path}`);
  return `"${path.replaceAll("%", "%%")}"`;
};

/** ssh reads an option up to the end of the line. */
const refuseControls = (text: string): void => {
  if (/\p{Cc}/u.test(text))
    throw new UsageError(`${JSON.stringify(text)} has a control character, which ssh cannot be given`);
};

export const knownHostsIn = (stateDirectory: string): string => join(stateDirectory, "known_hosts");
