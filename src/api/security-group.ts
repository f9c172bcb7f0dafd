import { z } from "zod";
import { conditions } from "./condition.ts";
import { ipv4Cidr, objectName, observedGeneration, rules, text, timestamp } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** The group of machines that name none, made in each namespace when it is missing. */
export const DEFAULT_GROUP = "default";

/** The groups that a machine is in, given those that its spec names. */
export const groupNamesOf = (named: readonly string[]): readonly string[] =>
  named.length === 0 ? [DEFAULT_GROUP] : named;

/** Keeps a group until no machine uses it: its rules stay in force for them. */
export const SECURITY_GROUP_FINALIZER = "vireo.dev/security-group";

const port = z.int().min(1).max(65_535);

const icmpNumber = z.int().min(0).max(255);

const cidrList = (maximum: number) =>
  z.array(ipv4Cidr).max(maximum).meta({ "x-kubernetes-list-type": "set" });

const wholeBlocks = (member: string) => ({
  rule: `!has(self.${member}) || self.${member}.all(block, !isCIDR(block) || cidr(block) == cidr(block).masked())`,
  message: `every block of ${member} must have no host bits set, such as 203.0.113.0/24`,
  fieldPath: `.${member}`,
});

const remote = z
  .object({
    cidrs: cidrList(128)
      .min(1)
      .optional()
      .describe("Blocks of addresses in CIDR notation, for example 203.0.113.0/24. At most 128."),
    except: cidrList(64)
      .optional()
      .describe("Blocks of addresses inside cidrs that the rule does not allow. At most 64."),
    group: objectName
      .optional()
      .describe("Name of a SecurityGroup in this namespace: all machines that are in it, wherever they run."),
  })
  .meta(
    rules(
      { rule: "has(self.cidrs) != has(self.group)", message: "exactly one of cidrs and group must be set" },
      {
        rule: "!has(self.except) || has(self.cidrs)",
        message: "except takes addresses away from cidrs, which is not set",
        fieldPath: ".except",
      },
      wholeBlocks("cidrs"),
      wholeBlocks("except"),
    ),
  );

const rule = (peer: string) =>
  z
    .object({
      description: text(256).optional().describe("What the rule is for, for people."),
      protocol: z
        .string()
        .max(4)
        .regex(/^(any|tcp|udp|icmp|[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$/)
        .default("any")
        .describe("any, tcp, udp, icmp, or the number of another IP protocol, 0 to 255, as a string."),
      port: port
        .optional()
        .describe("Destination port, or the first of a range that ends with endPort. Default: all ports."),
      endPort: port.optional().describe("Last port of a range that begins with port."),
      icmp: z
        .object({
          type: icmpNumber.describe("ICMP type, for example 8 for an echo request."),
          code: icmpNumber.optional().describe("ICMP code. Default: all codes of the type."),
        })
        .optional()
        .describe("What kind of ICMP message. Default: all kinds."),
      remote: remote.optional().describe(`${peer} Default: anybody.`),
    })
    .meta(
      rules(
        {
          rule: "!has(self.port) || self.protocol in ['tcp', 'udp', '6', '17']",
          message: "port goes with protocol tcp or udp",
          fieldPath: ".port",
        },
        {
          rule: "!has(self.endPort) || (has(self.port) && self.endPort >= self.port)",
          message: "endPort is the last port of a range that begins with port, and must not be less",
          fieldPath: ".endPort",
        },
        {
          rule: "!has(self.icmp) || self.protocol in ['icmp', '1']",
          message: "icmp goes with protocol icmp",
          fieldPath: ".icmp",
        },
      ),
    );

const ruleList = (peer: string) => z.array(rule(peer)).max(64).meta({ "x-kubernetes-list-type": "atomic" });

const spec = z
  .object({
    description: text(256).optional().describe("What the group is for, for people."),
    ingress: ruleList("Who may reach machines of the group.")
      .default([])
      .describe(
        "What may reach machines of the group. Answers to it may leave, whatever egress says. Empty: nothing may.",
      ),
    egress: ruleList("Whom machines of the group may reach.")
      .optional()
      .describe(
        "What machines of the group may send. Answers to it may come in, whatever ingress says. Absent: everything may leave. Empty: nothing may.",
      ),
    logRefused: z
      .boolean()
      .default(false)
      .describe(
        "Whether what is refused to and from machines of the group is written to the node's kernel log, with the machine's name, at most once a second for each machine and direction.",
      ),
  })
  .describe("What is allowed. Rules only allow; what no rule of any of a machine's groups allows is refused.")
  .prefault({});

const enforcingNode = z.object({
  name: objectName.describe("Name of the node."),
  generation: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .describe("The metadata.generation of the group whose rules are in force on the node."),
  programmedAt: timestamp.describe("When the node put them in force."),
});

const status = z
  .object({
    observedGeneration,
    conditions,
    members: z.int().min(0).max(1_000_000).optional().describe("Machines that are in the group."),
    rules: z.int().min(0).max(128).optional().describe("Rules that the group has."),
    nodes: z
      .array(enforcingNode)
      .max(1000)
      .optional()
      .describe("Nodes that hold machines of the group, and which version of its rules is in force on each.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
  })
  .describe("Who is in the group, and where its rules are in force.");

export const securityGroups = defineKind({
  kind: "SecurityGroup",
  plural: "securitygroups",
  singular: "securitygroup",
  shortNames: ["sg"],
  scope: "Namespaced",
  description:
    "Says what may reach the machines that are in it, and what these may send. It is stateful: answers to what is allowed are allowed. A machine in several groups may do what any of them allows. A change holds at once on all nodes, and cuts connections that are no longer allowed.",
  spec,
  status,
  columns: [
    { name: "RULES", type: "integer", jsonPath: ".status.rules", description: "Rules" },
    { name: "MEMBERS", type: "integer", jsonPath: ".status.members", description: "Machines in the group" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether its rules are in force on all nodes that hold machines of it",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type SecurityGroup = ObjectOf<typeof securityGroups>;
export type SecurityGroupRule = SecurityGroup["spec"]["ingress"][number];

/** Names of the groups of the same namespace that a group's rules speak of, each once. */
export const remoteGroupsOf = ({ ingress, egress = [] }: SecurityGroup["spec"]): readonly string[] => [
  ...new Set([...ingress, ...egress].flatMap(({ remote }) => remote?.group ?? [])),
];
