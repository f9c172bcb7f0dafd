import { describe, expect, test } from "@jest/globals";

import {
  availableFeatures,
  featuresFor,
  hostFeaturesIn,
} from "../../../../src/node-agent/domains/host-features.ts";
import { type Domain, DomainRefusedError } from "../../../../src/node-agent/domains/types.ts";
import { wantedDomain } from "./wanted.ts";

interface Node {
  readonly loaders?: readonly string[];
  readonly tpms?: readonly string[];
  readonly graphics?: readonly string[];
  readonly models?: readonly string[];
}

const values = (names: readonly string[]): string => names.map((name) => `<value>${name}</value>`).join("\n");

const capabilities = ({
  loaders = [],
  tpms = [],
  graphics = [],
  models = [],
}: Node): string => `<domainCapabilities>
  <os supported='yes'>
    <enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'>
      ${values(loaders)}
      <enum name='type'><value>rom</value><value>pflash</value></enum>
    </loader>
  </os>
  <cpu>
    <mode name='host-model' supported='yes'><model fallback='forbid'>Host-9</model></mode>
    <mode name='custom' supported='yes'>
      ${models.map((name) => `<model usable='yes' vendor='AMD'>${name}</model>`).join("")}
    </mode>
  </cpu>
  <devices>
    <graphics supported='yes'><enum name='type'>${values(graphics)}</enum></graphics>
    <tpm supported='yes'>
      <enum name='model'><value>emulator</value></enum>
      <enum name='backendModel'>${values(tpms)}</enum>
    </tpm>
  </devices>
</domainCapabilities>`;

/** A libvirt of such a node. */
const libvirtOf = (node: Node) => ({ domainCapabilities: () => Promise.resolve(capabilities(node)) });

const debian = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const secure = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd";

describe("UEFI", () => {
  test.each([
    ["Debian's", [secure, debian], "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    ["Debian's alone", [debian], "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    ["Fedora's", ["/usr/share/edk2/ovmf/OVMF_CODE.fd"], "/usr/share/edk2/ovmf/OVMF_VARS.fd"],
    ["none that we know to be without Secure Boot", [secure], undefined],
    ["none", [], undefined],
  ])("is %s", (_what, loaders, variables) => {
    expect(hostFeaturesIn(capabilities({ loaders })).uefi?.variablesTemplate).toBe(variables);
  });
});

describe("a node's features", () => {
  test("are none when libvirt says nothing of them", () => {
    const text = "<domainCapabilities><arch>x86_64</arch></domainCapabilities>";
    expect(hostFeaturesIn(text)).toEqual({
      uefi: undefined,
      tpm: false,
      spice: false,
      cpuModels: new Set(),
    });
  });

  test.each<[string, Node, Awaited<ReturnType<typeof availableFeatures>>]>([
    [
      "UEFI beside BIOS where there is one",
      { loaders: [debian] },
      { firmwares: ["BIOS", "UEFI"], tpm: false },
    ],
    ["BIOS alone", {}, { firmwares: ["BIOS"], tpm: false }],
    ["a TPM where swtpm is", { tpms: ["passthrough", "emulator"] }, { firmwares: ["BIOS"], tpm: true }],
    [
      "no TPM where only the node's own could be given",
      { tpms: ["passthrough"] },
      { firmwares: ["BIOS"], tpm: false },
    ],
  ])("are %s", async (_what, node, expected) => {
    expect(await availableFeatures(libvirtOf(node), {})).toEqual(expected);
  });
});

describe("a guest", () => {
  test.each<[string, Partial<Domain>, Node, RegExp]>([
    ["with UEFI", { firmware: "UEFI" }, {}, /install it \(Debian: ovmf\)/],
    ["with a TPM", { tpm: true }, { loaders: [debian] }, /install swtpm/],
    ["with a CPU", { cpu: { model: "Host-9" } }, { models: ["EPYC"] }, /model "Host-9".*name another/],
  ])("%s is refused where the node has none, with what to do", async (_what, changes, node, message) => {
    const asking = featuresFor(wantedDomain(changes), libvirtOf(node), {});
    await expect(asking).rejects.toThrow(DomainRefusedError);
    await expect(asking).rejects.toThrow(message);
  });

  test.each<[string, Node, boolean]>([
    ["has it where the node has it", { graphics: ["vnc", "spice"] }, true],
    ["does without where the node has none", { graphics: ["vnc"] }, false],
  ])("with SPICE %s", async (_what, node, spice) => {
    const want = wantedDomain({ graphics: ["VNC", "SPICE"] });
    expect(await featuresFor(want, libvirtOf(node), {})).toEqual({ uefi: undefined, spice });
  });

  test("with a CPU that the node's QEMU knows has it", async () => {
    const want = wantedDomain({ cpu: { model: "EPYC" } });
    expect(await featuresFor(want, libvirtOf({ models: ["EPYC"] }), {})).toMatchObject({ spice: false });
  });

  test.each<[string, Partial<Domain>]>([
    ["nothing of it", {}],
    ["the host's CPU", { cpu: { model: "host-passthrough" } }],
  ])("that needs %s is started without asking", async (_what, changes) => {
    const deaf = { domainCapabilities: () => Promise.reject(new Error("asked")) };
    expect(await featuresFor(wantedDomain(changes), deaf, {})).toEqual({});
  });
});
