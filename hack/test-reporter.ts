import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'node:util';
import Mocha from 'mocha';

/** Counts of a run of tests, as `coverage/NAME.results.json` holds them. */
export interface TestResults {
  readonly passed: number;
  readonly failed: number;
}

const FOLDER = join(import.meta.dirname, '../coverage');

/**
 * Mocha's reporter `spec`, but its summary goes into `coverage/NAME.summary.txt`, to be printed at the end of all, and
 * its counts into `coverage/NAME.results.json`. The name is the reporter option `name`.
 */
export default class TestReporter extends Mocha.reporters.Spec {
  readonly #name: string;

  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const { name } = (options.reporterOptions ?? {}) as { name?: string };
    this.#name = name ?? 'tests';
    // A run of an hour tells at once what is wrong, and also when it is ended before its summary.
    runner.on(Mocha.Runner.constants.EVENT_TEST_FAIL, (_test: Mocha.Test, error: Error) => {
      Mocha.reporters.Base.consoleLog('%s', textOf(error).replace(/^/gm, '      '));
    });
  }

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
    writeFileSync(join(FOLDER, `${this.#name}.summary.txt`), summary);
    writeFileSync(join(FOLDER, `${this.#name}.results.json`), `${JSON.stringify(results)}\n`);
  }
}

/** An error with what caused it, as far as it still has that: between processes a cause is lost. */
function textOf({ stack, message, cause }: Error): string {
  const text = stack ?? message;
  return cause instanceof Error ? `${text}\ncaused by ${textOf(cause)}` : text;
}
