import assert from 'node:assert/strict';
import { Demo } from '../support/demo.ts';
import { chaos } from '../support/faults.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { assertSameOutcome, cleanOutcome, settled, Workload } from '../support/workload.ts';

/** One run a seed; `SEED=n` tries a single one. */
const { SEED } = process.env;
const SEEDS = SEED === undefined ? [1, 2, 3] : [Number(SEED)];

describe('any mix of faults', function () {
  this.timeout(300_000);
  let demo: Demo;
  let oracle: Oracle;
  let clean: Outcome;

  before(async () => {
    demo = await Demo.start({ faults: true, flags: ['--kube-api-timeout=2s'] });
    oracle = await Oracle.start(demo.kube);
    await new Workload(demo, oracle, 'clean').perform();
    clean = await cleanOutcome(demo, oracle, 'clean');
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  for (const seed of SEEDS) {
    it(`comes to the same end through the faults of seed ${seed}`, async () => {
      const run = `seed${seed}`;
      // What one run made it wait for must not count in the next.
      await demo.restartOperator();
      const made = { requests: 0, watches: 0, events: 0 };
      demo.proxy.intercept = chaos(seed, { requests: 0.2, watches: 0.3, events: 0.2 }, made);
      // Watches are opened anew at each step, so that there are enough to draw faults for.
      await new Workload(demo, oracle, run).perform(() => {
        demo.proxy.cut();
      });
      demo.proxy.intercept = () => 'pass';
      for (const [kind, count] of Object.entries(made)) assert.ok(count > 0, `no fault of ${kind} was made`);
      await settled(demo.proxy);
      await assertSameOutcome(demo, oracle, run, clean);
    });
  }
});
