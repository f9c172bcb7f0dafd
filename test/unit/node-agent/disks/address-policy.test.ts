import { describe, expect, test } from "@jest/globals";
import { createAddressPolicy } from "../../../../src/node-agent/disks/address-policy.ts";

const policy = createAddressPolicy({
  allowedNetworks: ["127.0.0.2/32", "fd12::/16"],
  nodeAddresses: () => ["198.51.100.7", "192.168.1.5", "2001:db8:0::5", "not an address"],
});

describe("a download may connect to", () => {
  test.each([
    ["a public address", "151.101.2.132"],
    ["a public IPv6 address", "2a04:4e42::644"],
    ["a private network, where a company's mirror is", "10.1.2.3"],
    ["another private network", "192.168.1.6"],
    ["a provider's shared network", "100.64.0.1"],
    ["a unique local IPv6 address", "fd34::1"],
    ["a public address in IPv6 notation", "::ffff:151.101.2.132"],
    ["a public address behind a NAT64", "64:ff9b::9765:284"],
    ["loopback that the administrator allows", "127.0.0.2"],
    ["the same in IPv6 notation", "::ffff:127.0.0.2"],
    ["an IPv6 network that the administrator allows", "fd12::1"],
  ])("%s", (_sentence, address) => {
    expect(policy(address)).toBeUndefined();
  });
});

describe("a download may not connect to", () => {
  test.each([
    ["loopback", "127.0.0.1"],
    ["the far end of loopback", "127.255.255.254"],
    ["IPv6 loopback", "::1"],
    ["loopback in IPv6 notation", "::ffff:127.0.0.1"],
    ["the same in hexadecimal", "::ffff:7f00:1"],
    ["loopback in the old IPv6 notation", "::127.0.0.1"],
    ["loopback behind a NAT64", "64:ff9b::7f00:1"],
    ["the metadata service behind a NAT64", "64:ff9b::a9fe:a9fe"],
    ["loopback through 6to4", "2002:7f00:1::1"],
    ["a Teredo address", "2001:0:7f00:1::1"],
    ["link-local", "169.254.1.1"],
    ["the metadata service", "169.254.169.254"],
    ["Amazon's metadata service by IPv6", "fd00:ec2::254"],
    ["Alibaba's metadata service", "100.100.100.200"],
    ["Azure's, which is a public address", "168.63.129.16"],
    ["IPv6 link-local", "fe80::1"],
    ["IPv6 link-local with a zone", "fe80::1%eth0"],
    ["multicast", "224.0.0.1"],
    ["IPv6 multicast", "ff02::1"],
    ["broadcast", "255.255.255.255"],
    ["the unspecified address, which means loopback to Linux", "0.0.0.0"],
    ["the network of the unspecified address", "0.1.2.3"],
    ["the unspecified IPv6 address", "::"],
    ["a reserved address", "240.0.0.1"],
    ["a documentation address", "203.0.113.1"],
    ["an address of the node", "192.168.1.5"],
    ["an address of the node in IPv6 notation", "::ffff:192.168.1.5"],
    ["an IPv6 address of the node, however it is written", "2001:0db8::0005"],
    ["a name", "localhost"],
    ["a number", "2130706433"],
    ["octal digits", "0177.0.0.1"],
    ["too few parts", "127.1"],
    ["nothing", ""],
  ])("%s", (_sentence, address) => {
    expect(policy(address)).toMatch(/^it is/);
  });

  test.each(["0x7f.1", "2130706433", "017700000001", "127.1", "%31%32%37.0.0.1", "[::ffff:7f00:1]", "0"])(
    "what http://%s/ stands for, since URLs are made plain before",
    (host) => {
      const { hostname } = new URL(`http://${host}/`);
      expect(policy(hostname.replace(/[[\]]/g, ""))).toMatch(/^it is/);
    },
  );
});

test("the node's addresses are asked anew for each decision", () => {
  const own = ["192.0.2.1"];
  const changing = createAddressPolicy({ allowedNetworks: [], nodeAddresses: () => own });
  expect(changing("10.0.0.9")).toBeUndefined();
  own.push("10.0.0.9");
  expect(changing("10.0.0.9")).toBe("it is an address of this node");
});

test.each(["10.0.0.0", "10.0.0.0/33", "example.org/8", ""])(
  "the network %s is refused by name",
  (network) => {
    expect(() => createAddressPolicy({ allowedNetworks: [network], nodeAddresses: () => [] })).toThrow(
      `"${network}" is not a network`,
    );
  },
);
