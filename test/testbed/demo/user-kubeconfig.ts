import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

import { Document, isMap, isSeq, parseDocument } from "yaml";
import { z } from "zod";

/** Name of the demo's context, cluster and user in the user's kubeconfig. */
export const CONTEXT = "vireo-demo";

const LISTS = ["clusters", "users", "contexts"] as const;

const entrySchema = z.object({ name: z.string() }).loose();
const kubeconfigSchema = z.object({
  clusters: z.tuple([entrySchema]),
  users: z.tuple([entrySchema]),
  contexts: z.tuple([entrySchema]),
});

/** The file that kubectl writes to: the first of KUBECONFIG, or ~/.kube/config. */
export const userKubeconfigPath = (): string => {
  const { KUBECONFIG: paths = "" } = process.env;
  return paths.split(":").find((path) => path !== "") ?? join(homedir(), ".kube/config");
};

/** The document, edited in place so that a person's comments and order stay. */
const parseConfig = (text: string): Document => {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw new Error(`the kubeconfig is not YAML: ${error.message}`);
  if (document.contents === null) return new Document({ apiVersion: "v1", kind: "Config" });
  if (!isMap(document.contents)) throw new Error("the kubeconfig is not a map");
  return document;
};

const isOurs = (item: unknown): boolean => isMap(item) && item.get("name") === CONTEXT;

const removeEntries = (document: Document): void => {
  for (const list of LISTS) {
    const entries = document.get(list);
    if (isSeq(entries)) entries.items = entries.items.filter((item) => !isOurs(item));
  }
};

/** The context that is current now. */
export const currentContext = (text: string): string | undefined => {
  const value = parseConfig(text).get("current-context");
  return typeof value === "string" && value !== "" ? value : undefined;
};

/** The user's kubeconfig with the demo's context, made current; all else stays as it is. */
export const addContext = (text: string, kubeconfig: unknown): string => {
  const document = parseConfig(text);
  const ours = kubeconfigSchema.parse(kubeconfig);
  removeEntries(document);
  const entries = {
    clusters: { ...ours.clusters[0], name: CONTEXT },
    users: { ...ours.users[0], name: CONTEXT },
    contexts: { name: CONTEXT, context: { cluster: CONTEXT, user: CONTEXT } },
  };
  for (const list of LISTS) {
    if (isSeq(document.get(list))) document.addIn([list], document.createNode(entries[list]));
    else document.set(list, document.createNode([entries[list]]));
  }
  document.set("current-context", CONTEXT);
  return document.toString({ lineWidth: 0 });
};

/** The user's kubeconfig without the demo's context; what was current before it is current again. */
export const removeContext = (text: string, previousContext: string | undefined): string => {
  const document = parseConfig(text);
  removeEntries(document);
  if (document.get("current-context") === CONTEXT) document.set("current-context", previousContext ?? "");
  return document.toString({ lineWidth: 0 });
};

/** Reads the user's kubeconfig; an absent file is an empty one. */
export const readUserKubeconfig = (path: string): Promise<string> =>
  readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });

/** Replaces the user's kubeconfig in one step and keeps its mode. */
export const writeUserKubeconfig = async (path: string, text: string): Promise<void> => {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const mode = await stat(path).then(
    (found) => found.mode & 0o777,
    () => 0o600,
  );
  await writeFile(`${path}.vireo-demo`, text, { mode });
  await rename(`${path}.vireo-demo`, path);
};
