import type { z } from "zod";
import { virtualMachines } from "../api/virtual-machine.ts";
import type { Invocation } from "./command.ts";
import { UsageError } from "./errors.ts";
import { readObjectName } from "./names.ts";

/** A machine's spec as a person writes it: without what is filled in anyway. */
export type SpecDraft = Readonly<Record<string, unknown>>;

/** The members of spec that the flags speak of, the size included. Throws UsageError. */
export const specOf = (invocation: Invocation, readUserData: string | undefined): SpecDraft => {
  const { text } = invocation;
  return defined({
    ...sizeOf(invocation),
    rootDisk: optionalObject({
      pool: text("pool"),
      bootOrder: wholeNumber("boot-order", text("boot-order")),
    }),
    volumes: unlessEmpty(invocation.list("volume").map(volumeOf)),
    cdroms: unlessEmpty(invocation.list("cdrom").map(cdromOf)),
    networks: unlessEmpty(invocation.list("network").map(networkOf)),
    keyPairs: unlessEmpty(invocation.list("key-pair")),
    securityGroups: unlessEmpty(invocation.list("security-group")),
    runStrategy: text("run-strategy"),
    terminationGracePeriodSeconds: wholeNumber("grace-period", text("grace-period")),
    hostname: text("hostname"),
    cloudInit: cloudInitOf(invocation, readUserData),
    firmware: text("firmware"),
    tpm: invocation.isOn("tpm") ? true : undefined,
    cpu: optionalObject({ model: text("cpu-model"), topology: topologyOf(text("cpu-topology")) }),
    hugePages: optionalObject({ pageSize: text("huge-pages") }),
    graphics: graphicsOf(invocation.list("graphics")),
    livenessProbe: probeOf("liveness-probe", text("liveness-probe")),
    readinessProbe: probeOf("readiness-probe", text("readiness-probe")),
    availabilityZone: text("zone"),
    nodeSelector: pairs("node-selector", invocation.list("node-selector")),
  });
};

/** The members of spec that say how large a machine is. Throws UsageError. */
export const sizeOf = ({ text }: Invocation): SpecDraft =>
  defined({
    flavor: text("flavor"),
    vcpus: wholeNumber("vcpus", text("vcpus")),
    maxVcpus: wholeNumber("max-vcpus", text("max-vcpus")),
    memory: text("memory"),
    maxMemory: text("max-memory"),
    disk: text("disk"),
  });

/** Where the root disk comes from: "vm/web", "snapshot/before" or "volume/data". Throws UsageError. */
export const sourceOf = (flag: string, text: string): SpecDraft => {
  const { kind, name } = readObjectName(flag, text, ["machine", "snapshot", "volume"]);
  return { [{ machine: "virtualMachine", snapshot: "snapshot", volume: "volume" }[kind]]: name };
};

/** "NAME" or "NAMESPACE/NAME" of an Image. */
export const imageOf = (text: string | undefined): SpecDraft => {
  if (text === undefined) return {};
  const slash = text.indexOf("/");
  return slash === -1
    ? { image: text }
    : { imageNamespace: text.slice(0, slash), image: text.slice(slash + 1) };
};

/** Labels and annotations of the flags. Throws UsageError. */
export const metadataOf = (invocation: Invocation): Readonly<Record<string, unknown>> =>
  defined({
    labels: pairs("label", invocation.list("label")),
    annotations: pairs("annotation", invocation.list("annotation")),
  });

/** What the API server would refuse, field by field, as far as it can be known without it. Throws UsageError. */
export const checkSpec = (spec: SpecDraft): void => {
  const problems: string[] = [];
  const result = virtualMachines.definition.spec.safeParse(spec);
  if (!result.success) problems.push(...result.error.issues.map(describeIssue));
  if (spec["flavor"] === undefined && !["vcpus", "memory", "disk"].every((member) => member in spec))
    problems.push("without --flavor, --vcpus, --memory and --disk must all be given");
  if ((spec["image"] === undefined) === (spec["source"] === undefined))
    problems.push("exactly one of --image and --from must be given");
  if (problems.length > 0) throw new UsageError(problems.join("; "));
};

const describeIssue = ({ path, message }: z.core.$ZodIssue): string =>
  path[0] === "networks" && path.length === 1
    ? "--network must be given at least once"
    : `spec.${path.map(String).join(".")}: ${message}`;

const defined = (members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

const optionalObject = (members: Readonly<Record<string, unknown>>): SpecDraft | undefined => {
  const object = defined(members);
  return Object.keys(object).length === 0 ? undefined : object;
};

const unlessEmpty = <T>(list: readonly T[]): readonly T[] | undefined =>
  list.length === 0 ? undefined : list;

/** Throws UsageError for what is no whole number. */
export const wholeNumber = (flag: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`--${flag}: ${JSON.stringify(text)} is not a whole number`);
};

interface Parts {
  readonly name: string;
  readonly options: ReadonlyMap<string, readonly string[]>;
}

/** "NAME,key=value,key=value". Throws UsageError for a key that is not known. */
const partsOf = (flag: string, text: string, known: readonly string[]): Parts => {
  const [name = "", ...rest] = text.split(",");
  const options = new Map<string, readonly string[]>();
  for (const part of rest) {
    const [key = "", ...value] = part.split("=");
    if (!known.includes(key) || value.length === 0)
      throw new UsageError(
        `--${flag}: ${JSON.stringify(part)} is not one of ${known.map((word) => `${word}=…`).join(", ")}`,
      );
    options.set(key, [...(options.get(key) ?? []), value.join("=")]);
  }
  return { name, options };
};

const one = ({ options }: Parts, key: string): string | undefined => options.get(key)?.at(-1);

const volumeOf = (text: string): SpecDraft => {
  const parts = partsOf("volume", text, ["bus", "boot"]);
  return defined({
    name: parts.name,
    bus: one(parts, "bus"),
    bootOrder: wholeNumber("volume", one(parts, "boot")),
  });
};

const cdromOf = (text: string): SpecDraft => {
  const parts = partsOf("cdrom", text, ["boot"]);
  return defined({ image: parts.name, bootOrder: wholeNumber("cdrom", one(parts, "boot")) });
};

const networkOf = (text: string): SpecDraft => {
  const parts = partsOf("network", text, ["address", "allow", "boot"]);
  return defined({
    name: parts.name,
    address: one(parts, "address"),
    allowedAddresses: parts.options.get("allow"),
    bootOrder: wholeNumber("network", one(parts, "boot")),
  });
};

const cloudInitOf = ({ text }: Invocation, userData: string | undefined): SpecDraft | undefined =>
  optionalObject({
    userData,
    userDataSecretRef: secretOf(text("user-data-secret")),
    networkDataSecretRef: secretOf(text("network-data-secret")),
  });

const secretOf = (text: string | undefined): SpecDraft | undefined => {
  if (text === undefined) return undefined;
  const [name, key] = text.split("/", 2);
  return defined({ name, key });
};

const topologyOf = (text: string | undefined): SpecDraft | undefined => {
  if (text === undefined) return undefined;
  const match = /^([0-9]{1,3}):([0-9]{1,3}):([0-9]{1,3})$/.exec(text);
  if (match === null)
    throw new UsageError(`--cpu-topology: ${JSON.stringify(text)} is not SOCKETS:CORES:THREADS`);
  const [, sockets, cores, threads] = match.map(Number);
  return { sockets, cores, threads };
};

const graphicsOf = (protocols: readonly string[]): readonly string[] | undefined => {
  if (!protocols.includes("none")) return unlessEmpty(protocols);
  if (protocols.length > 1) throw new UsageError("--graphics none stands alone");
  return [];
};

const probeNumbers = {
  period: "periodSeconds",
  timeout: "timeoutSeconds",
  delay: "initialDelaySeconds",
  failures: "failureThreshold",
} as const;

const probeOf = (flag: string, text: string | undefined): SpecDraft | undefined => {
  if (text === undefined) return undefined;
  const parts = partsOf(flag, text, Object.keys(probeNumbers));
  const match = /^(tcp|http|https):([0-9]{1,5})(\/.*)?$/.exec(parts.name);
  const [, scheme = "", port = "", path] = match ?? [];
  if (match === null || (scheme === "tcp" && path !== undefined))
    throw new UsageError(
      `--${flag}: ${JSON.stringify(parts.name)} is not tcp:PORT, http:PORT/PATH or https:PORT/PATH`,
    );
  const numbers = Object.entries(probeNumbers).map(
    ([key, member]) => [member, wholeNumber(flag, one(parts, key))] as const,
  );
  const action =
    scheme === "tcp"
      ? { tcpSocket: { port: Number(port) } }
      : { httpGet: defined({ port: Number(port), path, scheme: scheme === "https" ? "HTTPS" : undefined }) };
  return defined({ ...action, ...Object.fromEntries(numbers) });
};

const pairs = (flag: string, list: readonly string[]): Readonly<Record<string, string>> | undefined => {
  if (list.length === 0) return undefined;
  return Object.fromEntries(
    list.map((pair) => {
      const [key = "", ...value] = pair.split("=");
      if (key === "" || value.length === 0)
        throw new UsageError(`--${flag}: ${JSON.stringify(pair)} is not KEY=VALUE`);
      return [key, value.join("=")] as const;
    }),
  );
};
