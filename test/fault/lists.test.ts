import assert from 'node:assert/strict';
import { eventually } from '../support/await.ts';
import { Demo } from '../support/demo.ts';
import type { Fault } from '../support/fault-proxy.ts';
import { expired, isList, isWrite, refusal, type Watched } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { Oracle } from '../support/oracle.ts';
import { quiet } from '../support/workload.ts';

const WATCHED: readonly Watched[] = ['namespaces', 'networkpolicies', 'baselinepolicies'];
const FLAGS = ['--list-page-size=2', '--resync-period=2s', '--kube-api-timeout=1s'];
/** So many that a list of each resource has more pages than one: 4 policies, 12 namespaces and 36 children. */
const SCENARIOS = ['one', 'two', 'three', 'four'];
const NAMESPACES = 3;

/** What happens to the second page of a list, and to each further one. */
const FAULTS: readonly (readonly [string, Fault])[] = [
  ['fails with 500', refusal(500, 'InternalError')],
  ['is broken off', 'reset'],
  ['never comes', 'black-hole'],
  ['comes too late for its token', expired()],
];

interface Case {
  readonly resource: Watched;
  readonly what: string;
  readonly fault: Fault;
}

/** Each fault for one resource, and another one by each offset; in the long form all of them. */
function cases(offset: number): Case[] {
  return FAULTS.flatMap(([what, fault], index) =>
    WATCHED.filter((_, position) => LONG_FORM || position === (index + offset) % WATCHED.length).map((resource) => {
      return { resource, what, fault };
    }),
  );
}

describe('a list whose second page', function () {
  this.timeout(120_000);
  let demo: Demo;
  let oracle: Oracle;
  /** Children, as `namespace/name`; each test deletes another one, as one that goes again and again is fought over. */
  let children: string[];
  let child = '';

  before(async () => {
    demo = await Demo.start({ faults: true, flags: FLAGS });
    oracle = await Oracle.start(demo.kube);
    for (const scenario of SCENARIOS) await demo.settled(scenario, NAMESPACES);
    children = [...(await versions()).keys()].filter((key) => key.endsWith('.allow-dns'));
  });

  beforeEach(() => {
    [child = ''] = children;
    children.push(...children.splice(0, 1));
  });

  afterEach(() => {
    demo.proxy.intercept = () => 'pass';
  });

  after(async () => {
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  for (const { resource, what, fault } of cases(0)) {
    it(`${what} is no list of what is gone, at a resync: ${resource}`, async () => {
      const { operator } = demo;
      const before = await versions();
      const counted = await counts();
      const since = demo.proxy.requests.length;
      const pages = breakPages(resource, fault);
      await pages.failed(2);
      const answer = await fetch(`${operator.url('health')}/readyz?verbose`);
      assert.equal(answer.status, 500);
      assert.match(await answer.text(), new RegExp(`cache-${resource} failed`));
      await pages.failed(3);
      assert.deepEqual(await counts(), counted);
      assert.deepEqual(writes(since), []);

      await deleteChild();
      demo.proxy.intercept = () => 'pass';
      await converged(before);
      assert.deepEqual(writes(since), ['POST']);
    });
  }

  for (const { resource, what, fault } of cases(1)) {
    it(`${what} is no list of what is gone, at the start: ${resource}`, async () => {
      const before = await versions();
      await demo.operator.stop();
      await deleteChild();
      const since = demo.proxy.requests.length;
      const pages = breakPages(resource, fault);
      const started = demo.startOperator();
      await Promise.race([pages.failed(3), started]);
      assert.deepEqual(writes(since), []);

      demo.proxy.intercept = () => 'pass';
      await started;
      await converged(before);
      assert.deepEqual(writes(since), ['POST']);
    });
  }

  it('comes tells nothing new', async () => {
    const since = demo.proxy.requests.length;
    await eventually(() => quiet(demo.proxy, 10_000), { timeout: 30_000 });
    const listed = demo.proxy.requests.slice(since).filter((request) => isList(request) && isLaterPage(request));
    assert.deepEqual(
      WATCHED.filter((resource) => !listed.some((request) => isList(request, resource))),
      [],
      'not listed meanwhile',
    );
    await oracle.assertNothingOpenedOrBroken();
  });

  /** From now on a fault happens to all pages of lists but the first ones. */
  function breakPages(resource: Watched, fault: Fault): { failed: (times: number) => Promise<void> } {
    let failures = 0;
    demo.proxy.intercept = (request) => {
      if (!isList(request, resource) || !isLaterPage(request)) return 'pass';
      failures++;
      return fault;
    };
    const failed = async (times: number): Promise<void> => {
      await eventually(
        () => {
          assert.ok(failures >= times, `${failures} pages failed`);
        },
        { timeout: 20_000 },
      );
    };
    return { failed };
  }

  function isLaterPage({ url }: { readonly url: URL }): boolean {
    return url.searchParams.has('continue');
  }

  async function deleteChild(): Promise<void> {
    const [namespace = '', name = ''] = child.split('/');
    await oracle.tamper(namespace, name, () => demo.kube.networkPolicies(namespace).delete(name));
  }

  /** Resolves when the deleted child is back and the operator is ready; nothing else may have changed. */
  async function converged(before: ReadonlyMap<string, string>): Promise<void> {
    await eventually(
      async () => {
        const now = await versions();
        assert.ok(now.delete(child), 'the deleted child is back');
        assert.deepEqual(now, new Map([...before].filter(([key]) => key !== child)));
      },
      { timeout: 30_000 },
    );
    await eventually(() => demo.operator.ready(), { timeout: 30_000 });
  }

  /** Methods of what the operator asked to have changed in NetworkPolicies. */
  function writes(since: number): string[] {
    return demo.proxy.requests
      .slice(since)
      .filter((request) => isWrite(request, 'networkpolicies'))
      .map(({ method }) => method);
  }

  /** What the operator counts in its caches. */
  async function counts(): Promise<Record<string, number>> {
    const samples = [...(await demo.operator.metrics())];
    return Object.fromEntries(
      samples.filter(([sample]) => /^baseline_policy_(namespaces|networkpolicies)\{/.test(sample)),
    );
  }

  /** UID and resourceVersion of each NetworkPolicy of the scenarios, by namespace and name. */
  async function versions(): Promise<Map<string, string>> {
    const children = (await demo.kube.networkPolicies().list()).filter(
      ({ metadata }) => metadata.namespace !== 'default',
    );
    return new Map(
      children.map(({ metadata: { namespace: where = '', name, uid = '', resourceVersion = '' } }) => {
        return [`${where}/${name}`, `${uid}@${resourceVersion}`];
      }),
    );
  }
});
