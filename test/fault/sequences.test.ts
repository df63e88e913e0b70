import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import type { DiscoveredAddresses } from '../../src/policy/discovery.ts';
import { Demo } from '../support/demo.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle } from '../support/oracle.ts';
import { checked, COMMANDS, NAMESPACES, POLICIES, type World } from '../support/policy-commands.ts';
import { PolicyModel } from '../support/policy-model.ts';
import { OPERATOR_NAMESPACE } from '../support/service-account.ts';
import { quiet } from '../support/workload.ts';

/** One sequence a seed; `SEED=n` tries a single one, `SHRUNK` and `REPLAY` are the path and replayPath of a report. */
const { SEED, SHRUNK, REPLAY } = process.env;
const SEEDS = SEED === undefined ? (LONG_FORM ? [1, 2, 3, 4, 5, 6, 7, 8] : [2]) : [Number(SEED)];
/** Commands of a sequence; some of them find nothing to do. */
const STEPS = LONG_FORM ? 200 : 60;
/** How long a failing sequence may be shrunk; milliseconds. */
const SHRINK_MS = 240_000;
/** How long the operator may act on what has just changed; milliseconds. Few steps wait for the one before. */
const LAG_MS = 5_000;

type Commands = Iterable<fc.AsyncCommand<PolicyModel, World>>;

describe('any sequence of BaselinePolicies', function () {
  this.timeout(900_000);
  let demo: Demo;
  let addresses: DiscoveredAddresses;

  before(async () => {
    // Deletions are wanted here, and no person is there to approve them.
    demo = await Demo.start({ faults: true, flags: ['--deletion-brake-percent=100'] });
    for (const name of NAMESPACES) await demo.kube.namespaces.create({ metadata: { name } });
    addresses = await clusterAddresses();
  });

  after(() => demo.stop());

  for (const seed of SEEDS) {
    it(`comes to what the last valid state says, seed ${seed}`, async () => {
      const counts = new Map<string, number>();
      let failedAt: number | undefined;
      const property = fc.asyncProperty(commandsOf(STEPS), async (commands) => {
        // A run takes its time: what is not tried soon enough counts as passed, and the smallest failure so far is told.
        if (failedAt !== undefined && performance.now() - failedAt > SHRINK_MS) return;
        try {
          await play(commands, failedAt === undefined ? counts : new Map<string, number>());
        } catch (error) {
          failedAt ??= performance.now();
          throw error;
        }
      });
      await fc.assert(property, { seed, numRuns: 1, ...(SHRUNK !== undefined && { path: SHRUNK }) });
      await quiet(demo.proxy, 10_000);
      if (SHRUNK !== undefined) return;
      for (const kind of ['apply', 'change', 'refused', 'remove', 'label', 'tamper', 'foreign', 'restart', 'check']) {
        assert.ok((counts.get(kind) ?? 0) > 0, `the sequence had no ${kind}: ${JSON.stringify([...counts])}`);
      }
    });
  }

  /** Runs commands from a cluster without policies and children. */
  async function play(commands: Commands, counts: Map<string, number>): Promise<void> {
    await reset();
    await using oracle = await Oracle.start(demo.kube, LAG_MS);
    const model = new PolicyModel([...NAMESPACES, 'default', OPERATOR_NAMESPACE], addresses);
    const world: World = { demo, oracle, counts };
    await fc.asyncModelRun(() => ({ model, real: world }), commands);
    await checked(model, world);
    await oracle.assertNothingOpenedOrBroken();
  }

  /** Removes what the sequence before has left, which a failing operator may not do. */
  async function reset(): Promise<void> {
    const { kube } = demo;
    await demo.killOperator();
    for (const { metadata } of await kube.baselinePolicies.list()) {
      await kube.baselinePolicies.merge(metadata.name, { metadata: { finalizers: null } });
      if (metadata.deletionTimestamp === undefined) await kube.baselinePolicies.delete(metadata.name);
    }
    await demo.gone(POLICIES);
    for (const { metadata } of await kube.networkPolicies().list()) {
      await kube.networkPolicies(metadata.namespace).delete(metadata.name);
    }
    for (const name of NAMESPACES) {
      const { metadata } = await kube.namespaces.get(name);
      const keys = Object.keys(metadata.labels ?? {}).filter((key) => key !== 'kubernetes.io/metadata.name');
      await demo.label(name, Object.fromEntries(keys.map((key) => [key, null])));
    }
    await demo.startOperator();
  }

  async function clusterAddresses(): Promise<DiscoveredAddresses> {
    const service = await demo.kube
      .resource<KubernetesObject & { spec: { clusterIP: string } }>('v1', 'services', 'default')
      .get('kubernetes');
    const slice = await demo.kube
      .resource<
        KubernetesObject & {
          endpoints: { addresses: string[] }[];
          ports: { protocol: 'TCP'; port: number }[];
        }
      >('discovery.k8s.io/v1', 'endpointslices', 'default')
      .get('kubernetes');
    return {
      kubeDNSClusterIPs: [],
      apiServerEndpoints: [
        {
          addresses: slice.endpoints.flatMap((endpoint) => endpoint.addresses),
          ports: slice.ports.map(({ protocol, port }) => ({ protocol, port })),
        },
      ],
      apiServerClusterIPs: [service.spec.clusterIP],
    };
  }
});

/** Sequences of nearly that many commands; a failing one is shrunk to any length. */
function commandsOf(steps: number): fc.Arbitrary<Commands> {
  const commands = fc.commands([...COMMANDS], {
    maxCommands: steps,
    size: 'max',
    ...(REPLAY !== undefined && { replayPath: REPLAY }),
  });
  return new LongAtFirst(commands, Math.floor(steps * 0.9));
}

/** Draws until a sequence is long enough, for `fc.commands` draws any length up to the longest. */
class LongAtFirst extends fc.Arbitrary<Commands> {
  readonly #commands: fc.Arbitrary<Commands>;
  readonly #least: number;

  constructor(commands: fc.Arbitrary<Commands>, least: number) {
    super();
    this.#commands = commands;
    this.#least = least;
  }

  override generate(random: fc.Random): fc.Value<Commands> {
    for (;;) {
      const drawn = this.#commands.generate(random, undefined);
      if ([...drawn.value_].length >= this.#least) return drawn;
    }
  }

  override canShrinkWithoutContext(value: unknown): value is Commands {
    return this.#commands.canShrinkWithoutContext(value);
  }

  override shrink(value: Commands, context: unknown): fc.Stream<fc.Value<Commands>> {
    return this.#commands.shrink(value, context);
  }
}
