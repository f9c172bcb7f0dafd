const common = {
  rootDir: import.meta.dirname,
  testEnvironment: "node",
  transform: { "\\.ts$": "<rootDir>/test/setup/strip-types.cjs" },
  extensionsToTreatAsEsm: [".ts"],
  modulePathIgnorePatterns: ["<rootDir>/dist"],
};

const project = (name, options = {}) => ({
  ...common,
  displayName: name,
  testMatch: [`<rootDir>/test/${name}/**/*.test.ts`],
  ...options,
});

export default {
  projects: [project("unit"), project("contract"), project("api"), project("e2e")],
  testSequencer: "<rootDir>/test/setup/longest-first.cjs",
  reporters: ["default", "<rootDir>/test/setup/count-reporter.cjs"],
  // Unit tests never come near this; tests on real parts set their own where they await more.
  testTimeout: 60_000,
};
