import { describe, expect, test } from "@jest/globals";

import { availableFirmwares, uefiFirmwareIn } from "../../../../src/node-agent/domains/firmware.ts";

const capabilities = (...loaders: readonly string[]): string => `<domainCapabilities>
  <os supported='yes'>
    <enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'>
      ${loaders.map((path) => `<value>${path}</value>`).join("\n")}
      <enum name='type'><value>rom</value><value>pflash</value></enum>
    </loader>
  </os>
</domainCapabilities>`;

/** A libvirt that knows these loaders. */
const withLoaders = (...loaders: readonly string[]) => ({
  domainCapabilities: () => Promise.resolve(capabilities(...loaders)),
});

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
    expect(uefiFirmwareIn(capabilities(...loaders))?.variablesTemplate).toBe(variables);
  });

  test("is not there when libvirt says nothing of loaders", () => {
    expect(uefiFirmwareIn("<domainCapabilities><arch>x86_64</arch></domainCapabilities>")).toBeUndefined();
  });

  test("is offered beside BIOS where there is one", async () => {
    expect(await availableFirmwares(withLoaders(debian), {})).toEqual(["BIOS", "UEFI"]);
    expect(await availableFirmwares(withLoaders(), {})).toEqual(["BIOS"]);
  });
});
