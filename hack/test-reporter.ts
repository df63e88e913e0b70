import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'node:util';
import Mocha from 'mocha';

/** Counts of a run of the tests, as `coverage/results.json` holds them. */
export interface TestResults {
  readonly passed: number;
  readonly failed: number;
}

const FOLDER = join(import.meta.dirname, '../coverage');

/**
 * Mocha's reporter `spec`, but its summary goes into `coverage/summary.txt`, to be printed after that of the coverage,
 * and its counts into `coverage/results.json`.
 */
export default class TestReporter extends Mocha.reporters.Spec {
  override epilogue(): void {
    let summary = '';
    const { consoleLog } = Mocha.reporters.Base;
    Mocha.reporters.Base.consoleLog = (...args: unknown[]): void => {
      summary += `${format(...args)}\n`;
    };
    try {
      super.epilogue();
    } finally {
      Mocha.reporters.Base.consoleLog = consoleLog;
    }
    const results: TestResults = { passed: this.stats.passes, failed: this.stats.failures };
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, 'summary.txt'), summary);
    writeFileSync(join(FOLDER, 'results.json'), `${JSON.stringify(results)}\n`);
  }
}
