import assert from 'node:assert/strict';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { eventually } from '../../support/await.ts';
import { Demo, DEFAULT_RULES, versions } from '../../support/demo.ts';
import type { WatchEvent } from '../../support/kube.ts';

const ALLOWS = ['allow-dns', 'allow-monitoring'];

/** What namespaces hold after some events: by namespace, the rules of the children of one policy. */
class Holdings {
  readonly #policy: string;
  readonly #rules = new Map<string, Set<string>>();
  #replayed = 0;
  /** How often a namespace was seen to get or to have default-deny. */
  closed = 0;

  constructor(policy: string) {
    this.#policy = policy;
  }

  /**
   * Replays the events that are new, and asserts after each that its namespace holds these rules if it holds
   * default-deny.
   */
  replay(events: readonly WatchEvent<NetworkPolicy>[], required: readonly string[]): void {
    for (const { type, object } of events.slice(this.#replayed)) {
      this.#replayed++;
      const { namespace = '', name } = object.metadata;
      if (!name.startsWith(`${this.#policy}.`)) continue;
      const rules = this.#rules.get(namespace) ?? new Set<string>();
      this.#rules.set(namespace, rules);
      const rule = name.slice(this.#policy.length + 1);
      if (type === 'DELETED') rules.delete(rule);
      else rules.add(rule);
      if (!rules.has('default-deny')) continue;
      this.closed++;
      const missing = required.filter((other) => !rules.has(other));
      assert.deepEqual(missing, [], `${namespace} was closed without these allows after ${type} of ${name}`);
    }
  }

  /** The rules that a namespace holds now, sorted. */
  of(namespace: string): string[] {
    return [...(this.#rules.get(namespace) ?? [])].sort();
  }
}

describe('A roll-out', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  it('of a changed rule updates its child in place, and leaves the others alone', async () => {
    const policy = demo.name('ports');
    const [namespace = ''] = await demo.settled(policy, 1);
    const { [`${policy}.allow-monitoring`]: _changed, ...others } = versions(await demo.children(namespace));
    const before = await demo.child(namespace, policy, 'allow-monitoring');
    await demo.change(policy, { rules: { allowMonitoring: { ports: [{ port: 9090 }] } } });
    const after = await eventually(async () => {
      const child = await demo.child(namespace, policy, 'allow-monitoring');
      assert.deepEqual(child.spec?.ingress?.[0]?.ports, [{ protocol: 'TCP', port: 9090 }]);
      return child;
    });
    assert.equal(after.metadata.uid, before.metadata.uid);
    await demo.holds(await demo.namespace(policy), policy);
    const { [`${policy}.allow-monitoring`]: _now, ...untouched } = versions(await demo.children(namespace));
    assert.deepEqual(untouched, others);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('of a disabled rule removes its child, of an enabled one makes one, and leaves the others alone', async () => {
    const policy = demo.name('toggle');
    const [namespace = ''] = await demo.settled(policy, 1);
    const { [`${policy}.allow-monitoring`]: _removed, ...others } = versions(await demo.children(namespace));
    await demo.change(policy, {
      rules: { allowMonitoring: { enabled: false }, allowSameNamespace: { enabled: true } },
    });
    const rules = ['default-deny', 'allow-dns', 'allow-same-namespace'];
    await demo.holds(namespace, policy, rules);
    await demo.holds(await demo.namespace(policy), policy, rules);
    const { [`${policy}.allow-same-namespace`]: _made, ...untouched } = versions(await demo.children(namespace));
    assert.deepEqual(untouched, others);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('of a description changes an annotation in place, and goes with it', async () => {
    const policy = demo.name('description');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = await demo.children(namespace);
    for (const [description, annotations] of [
      ['for people', { 'baselinepolicy.dev/description': 'for people' }],
      [null, undefined],
    ] as const) {
      await demo.change(policy, { description });
      await eventually(async () => {
        for (const child of (await demo.children(namespace)).values()) {
          assert.deepEqual(child.metadata.annotations, annotations);
        }
      });
    }
    for (const child of (await demo.children(namespace)).values()) {
      assert.equal(child.metadata.uid, before.get(child.metadata.name)?.metadata.uid);
      assert.equal(child.metadata.generation, 1);
    }
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('of a spec that means the same writes no child', async () => {
    const policy = demo.name('same');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = versions(await demo.children(namespace));
    await demo.change(policy, {
      deletionPolicy: 'Orphan',
      excludedNamespaces: ['nobody'],
      rules: {
        defaultDeny: { enabled: true, policyTypes: ['Egress', 'Ingress'] },
        allowDNS: { targets: ['KubeDNS', 'NodeLocalDNS'], custom: [] },
        allowMonitoring: {
          from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
          ports: [],
        },
        allowExternalEgress: { enabled: false },
      },
    });
    await demo.compliant(policy, 1);
    assert.deepEqual(versions(await demo.children(namespace)), before);
    await demo.change(policy, { deletionPolicy: 'Delete' });
  });

  it('never closes a namespace without all its allows', async () => {
    const policy = demo.name('order');
    const namespaces = await demo.createNamespaces(policy, 20);
    const { metadata } = await demo.kube.networkPolicies().page();
    using watch = await demo.kube.networkPolicies().watch({ resourceVersion: metadata.resourceVersion });
    const holdings = new Holdings(policy);
    /** Replays all that an act leads to, until the namespaces hold these rules. */
    const follow = async (act: Promise<unknown>, required: readonly string[], rules: string[], where = namespaces) => {
      await act;
      await eventually(() => {
        assert.equal(watch.error, undefined);
        holdings.replay(watch.events, required);
        for (const namespace of where) assert.deepEqual(holdings.of(namespace), rules);
      });
    };

    // Creation: all allows, then default-deny.
    await follow(demo.policy(policy), ALLOWS, [...DEFAULT_RULES]);
    assert.ok(holdings.closed >= namespaces.length);
    // default-deny goes together with an allow: it goes first.
    const off = { rules: { defaultDeny: { enabled: false }, allowMonitoring: { enabled: false } } };
    await follow(demo.change(policy, off), ALLOWS, ['allow-dns']);
    // default-deny comes together with allows: it comes last.
    const on = {
      rules: {
        defaultDeny: { enabled: true },
        allowMonitoring: { enabled: true },
        allowSameNamespace: { enabled: true },
      },
    };
    const all = [...ALLOWS, 'allow-same-namespace'];
    await follow(demo.change(policy, on), all, [...all, 'default-deny'].sort());
    // One allow takes the place of another under default-deny: those that stay are always there.
    const swap = { rules: { allowSameNamespace: { enabled: false }, allowExternalEgress: { enabled: true } } };
    const swapped = [...ALLOWS, 'allow-external-egress'];
    await follow(demo.change(policy, swap), ALLOWS, [...swapped, 'default-deny'].sort());
    // Namespaces leave one by one, and by a selector that leaves a few of them out.
    const [first = '', second = '', third = '', ...rest] = namespaces;
    await follow(demo.optOut(first), swapped, [], [first]);
    await follow(demo.change(policy, { excludedNamespaces: [second, third] }), swapped, [], [second, third]);
    // The policy goes.
    await follow(demo.remove(policy), swapped, [], rest);
    assert.deepEqual(await demo.drift(policy), {});
  });
});
