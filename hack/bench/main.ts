import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Cluster } from './cluster.ts';
import { CONTROLLER_RUNTIME, CONTROLLER_RUNTIME_TUNED, OURS, RunningContender } from './contender.ts';
import { machine } from './machine.ts';
import { childrenOfOurs, countRequests, runLoop, runOperator, type OperatorRun } from './operator-run.ts';
import { positive } from './positive.ts';
import { inTurns } from './turns.ts';
import { judge, table, type Results } from './verdicts.ts';

/*
 * Measures the operator against others that do the same work, on one machine, in turns, and says for each target
 * whether it is met. Every contender has a fresh control plane of its own in each round.
 *
 *     node hack/bench/main.ts --namespaces=500,2000,10000 --rounds=3 --idle-minutes=10
 */
const { values: flags } = parseArgs({
  options: {
    namespaces: { type: 'string', default: '500,2000,10000' },
    rounds: { type: 'string', default: '3' },
    'idle-minutes': { type: 'string', default: '10' },
    out: { type: 'string', default: fileURLToPath(new URL('../../bin/bench', import.meta.url)) },
  },
});
const sizes = flags.namespaces.split(',').map((text) => positive('--namespaces', text));
const rounds = positive('--rounds', flags.rounds);
const idleMinutes = Number(flags['idle-minutes']);
/** A fill that is long enough to create namespaces in its midst. */
const PROBED_FROM = 10_000;

const operators: OperatorRun[] = [];
const loops: Results['loops'][number][] = [];
const heap: Results['heap'][number][] = [];
const children = await childrenOfOurs();
for (const namespaces of sizes) {
  for (let round = 1; round <= rounds; round++) {
    const turns = [
      ...[OURS, CONTROLLER_RUNTIME, CONTROLLER_RUNTIME_TUNED].map((contender) => async () => {
        const run = await runOperator(contender, namespaces, contender === OURS && namespaces >= PROBED_FROM);
        operators.push(run);
        report(`${contender.name}: ${run.fill.perSecond.toFixed(0)} creates/s`);
      }),
      async () => {
        const run = { namespaces, ...(await runLoop(namespaces, children)) };
        loops.push(run);
        report(`bare loop: ${run.fill.perSecond.toFixed(0)} creates/s`);
      },
    ];
    await inTurns(round, turns);
    function report(text: string): void {
      console.log(`${namespaces} namespaces, round ${round} of ${rounds}: ${text}`);
    }
  }
}
for (let round = 0; round < rounds; round++) heap.push(await measureHeap(1_000));
const idle = idleMinutes > 0 ? await measureIdle(500, idleMinutes) : undefined;

const results: Results = { operators, loops, heap, ...(idle !== undefined && { idle }) };
const verdicts = judge(results);
const measuredOn = machine();
mkdirSync(flags.out, { recursive: true });
writeFileSync(
  `${flags.out}/results.json`,
  `${JSON.stringify({ machine: measuredOn, results, verdicts }, undefined, 2)}\n`,
);
writeFileSync(`${flags.out}/table.md`, `${table(verdicts)}\n`);
console.log(`\n${JSON.stringify(measuredOn)}\n\n${table(verdicts)}\n\nAll figures: ${flags.out}/results.json`);

/** The heap of both caches on a cluster of so many namespaces with four children each. */
async function measureHeap(namespaces: number): Promise<Results['heap'][number]> {
  await using cluster = await Cluster.start();
  await cluster.createNamespaces('bench', namespaces);
  {
    await using _operator = await RunningContender.start(OURS, cluster);
    await cluster.createPolicy('bench');
    await cluster.filled(4 * namespaces);
  }
  const bytesEach = (cache: string): number => {
    const script = fileURLToPath(new URL('heap.ts', import.meta.url));
    const args = ['--expose-gc', script, `--kubeconfig=${cluster.controlPlane.kubeconfig}`, `--cache=${cache}`];
    return (JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as { bytesEach: number }).bytesEach;
  };
  return { ours: bytesEach('ours'), listWatch: bytesEach('list-watch') };
}

/** What the operator asks for on a cluster where nothing happens. */
async function measureIdle(namespaces: number, minutes: number): Promise<Record<string, number>> {
  await using cluster = await Cluster.start();
  await cluster.createNamespaces('bench', namespaces);
  await using _operator = await RunningContender.start(OURS, cluster);
  await cluster.createPolicy('bench');
  await cluster.filled(4 * namespaces);
  await delay(10_000);
  const mark = await cluster.auditMark();
  await delay(minutes * 60_000);
  const events = await cluster.requestsOf(OURS.agent, mark);
  return countRequests(events.filter(({ objectRef }) => objectRef?.resource !== 'leases'));
}
