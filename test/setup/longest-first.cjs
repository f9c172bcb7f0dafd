const { default: Sequencer } = require("@jest/test-sequencer");

/**
 * Suites that take much longer than their files suggest. Where nothing is known
 * of earlier runs jest begins with the largest file, and one of these would be
 * all that still runs at the end.
 */
const LONG = /\/e2e\/(data|guests|evacuation)\.test\.ts$/;

module.exports = class LongestFirst extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    return [
      ...sorted.filter(({ path }) => LONG.test(path)),
      ...sorted.filter(({ path }) => !LONG.test(path)),
    ];
  }
};
