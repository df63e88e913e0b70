import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kyvernoModule } from './kyverno-controllers.ts';
import { generatedChild, kyvernoSide, OURS_SIDE, runSide, type SideRun } from './kyverno-run.ts';
import { machine } from './machine.ts';
import { childrenOfOurs } from './operator-run.ts';
import { positive } from './positive.ts';
import { spread } from './statistics.ts';
import { inTurns } from './turns.ts';

/*
 * Measures Kyverno, with a policy that generates the same NetworkPolicies, beside the operator: on one machine, in
 * turns, each with a fresh control plane of its own in each round.
 *
 *     node hack/bench/kyverno.ts --namespaces=500 --rounds=3
 */
const { values: flags } = parseArgs({
  options: {
    namespaces: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: fileURLToPath(new URL('../../bin/bench', import.meta.url)) },
  },
});
const namespaces = positive('--namespaces', flags.namespaces);
const rounds = positive('--rounds', flags.rounds);

const children = (await childrenOfOurs()).map(generatedChild);
const sides = [OURS_SIDE, kyvernoSide(children)];
const runs: SideRun[] = [];
for (let round = 1; round <= rounds; round++) {
  await inTurns(
    round,
    sides.map((side) => async () => {
      const run = await runSide(side, namespaces, children);
      runs.push(run);
      console.log(`Round ${round} of ${rounds}, ${side.name}: ${show(run.fill.perSecond)} policies/s`);
    }),
  );
}

const measuredOn = { ...machine(), kyverno: kyvernoModule().Version };
mkdirSync(flags.out, { recursive: true });
const file = `${flags.out}/kyverno.json`;
writeFileSync(file, `${JSON.stringify({ machine: measuredOn, namespaces, runs }, undefined, 2)}\n`);
console.log(`\n${JSON.stringify(measuredOn)}\n\n${table()}\n\nAll figures: ${file}`);

/** A line for each figure, a column for each side; medians of the rounds, with minimum and maximum. */
function table(): string {
  const figures: readonly [string, (run: SideRun) => number][] = [
    ['fill: policies/s', ({ fill }) => fill.perSecond],
    ['fill: requests for each policy', ({ fill }) => fill.requestsEach],
    ['fill: CPU seconds', ({ fill }) => fill.cpuSeconds],
    ['resident set after the fill, MB', ({ fill }) => fill.memory.rss],
    ['one rule changed: seconds', ({ change }) => change.seconds],
    [`one rule changed: writes of NetworkPolicies (${namespaces} needed)`, ({ change }) => change.networkPolicyWrites],
    ['one rule changed: all writes', ({ change }) => change.writes],
    ['restart, two minutes: writes of NetworkPolicies (0 needed)', ({ restart }) => restart.networkPolicyWrites],
    ['restart, two minutes: all writes', ({ restart }) => restart.writes],
  ];
  return [
    ['', ...sides.map(({ name }) => name)],
    ['---', ...sides.map(() => '---')],
    ...figures.map(([what, figure]) => [what, ...sides.map(({ name }) => cell(name, figure))]),
  ]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

function cell(side: string, figure: (run: SideRun) => number): string {
  const { min, median, max } = spread(runs.filter((run) => run.side === side).map(figure));
  return `${show(median)} (${show(min)}–${show(max)})`;
}

/** Three digits, or all of a whole number. */
function show(value: number): string {
  return Number.isInteger(value) || value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
