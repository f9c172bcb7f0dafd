import { describe, expect, test } from "@jest/globals";

import { gitOpsWarnings } from "../../../src/cli/gitops.ts";

const halted = [{ path: "spec.runStrategy", value: "Halted" }];
const warningsOf = (metadata: object) =>
  gitOpsWarnings("VirtualMachine shop/web", { metadata: { name: "web", ...metadata } }, halted);

const managed = (manager: string, fieldsV1: object, subresource = "") => ({
  managedFields: [{ manager, operation: "Apply", subresource, fieldsV1 }],
});
const strategy = { "f:spec": { "f:runStrategy": {} } };

describe("who may undo a change", () => {
  test.each([
    [
      "Argo CD by its tracking annotation",
      { annotations: { "argocd.argoproj.io/tracking-id": "store:vireo.dev/VirtualMachine:shop/web" } },
      /managed by Argo CD \(application store\).*write spec.runStrategy: "Halted" in the repository of application store/,
    ],
    [
      "Argo CD by its label",
      { labels: { "argocd.argoproj.io/instance": "store" } },
      /Argo CD \(application store\)/,
    ],
    [
      "Flux by its labels",
      {
        labels: {
          "kustomize.toolkit.fluxcd.io/name": "apps",
          "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        },
      },
      /Flux \(Kustomization flux-system\/apps\).*the source of Kustomization flux-system\/apps/,
    ],
    [
      "a HelmRelease of Flux, and not Helm besides",
      {
        labels: {
          "helm.toolkit.fluxcd.io/name": "store",
          "helm.toolkit.fluxcd.io/namespace": "shop",
          "app.kubernetes.io/managed-by": "Helm",
        },
      },
      /Flux \(HelmRelease shop\/store\)/,
    ],
    [
      "Helm",
      {
        labels: { "app.kubernetes.io/managed-by": "Helm" },
        annotations: { "meta.helm.sh/release-name": "store" },
      },
      /Helm \(release store\).*the values or the chart of release store/,
    ],
    [
      "an owner",
      { ownerReferences: [{ kind: "VirtualMachinePool", name: "web", controller: true }] },
      /the template of VirtualMachinePool web/,
    ],
    ["whoever else owns the field", managed("terraform", strategy), /has this from terraform/],
  ])("%s", (_who, metadata, pattern) => {
    expect(warningsOf(metadata)).toEqual([expect.stringMatching(pattern)]);
  });

  test.each([
    ["nobody", {}],
    ["kubectl apply", managed("kubectl-client-side-apply", strategy)],
    ["kubectl patch", managed("kubectl-patch", strategy)],
    ["ourselves", managed("kubectl-vireo", strategy)],
    ["a program that owns another field", managed("terraform", { "f:spec": { "f:flavor": {} } })],
    ["a controller that owns the status", managed("vireo-controller", strategy, "status")],
    ["a program that owns nothing", managed("terraform", {})],
    ["an owner that does not control it", { ownerReferences: [{ kind: "Project", name: "x" }] }],
  ])("is not %s", (_who, metadata) => {
    expect(warningsOf(metadata)).toEqual([]);
  });

  test("is nobody when nothing changes", () => {
    const metadata = { name: "web", labels: { "argocd.argoproj.io/instance": "store" } };
    expect(gitOpsWarnings("VirtualMachine shop/web", { metadata }, [])).toEqual([]);
  });
});
