// Jest runs the same source that Node runs: types are stripped in place, so
// line numbers stay true and no second compiler has an opinion.
const { stripTypeScriptTypes } = require("node:module");
const { createHash } = require("node:crypto");

module.exports = {
  process: (source) => ({ code: stripTypeScriptTypes(source, { mode: "strip" }) }),
  getCacheKey: (source, path) =>
    createHash("sha256").update(process.version).update(path).update(source).digest("hex"),
};
