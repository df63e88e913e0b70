import assert from 'node:assert/strict';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import type { DesiredSet } from '../../../src/policy/desired.ts';
import { diffChildren, driftOf, type SettledState } from '../../../src/policy/diff.ts';
import { NO_ADDRESSES, type DiscoveredAddresses } from '../../../src/policy/discovery.ts';
import { childOf, foreign, live, liveByName, namespace, policy, type LiveBuilder } from '../../support/fixtures.ts';

const SHOP = namespace('shop').labelled({ team: 'blue' });
const BASE = desired({});
const DNS = childOf(BASE, 'allow-dns');
const KNOWN: DiscoveredAddresses = {
  kubeDNSClusterIPs: [],
  apiServerEndpoints: [{ addresses: ['192.0.2.1'], ports: [{ protocol: 'TCP', port: 6443 }] }],
  apiServerClusterIPs: [],
};
const MOVED: DiscoveredAddresses = {
  ...KNOWN,
  apiServerEndpoints: [{ addresses: ['192.0.2.2'], ports: [{ protocol: 'TCP', port: 6443 }] }],
};
const WITH_API_SERVER: BaselinePolicySpec = { rules: { allowKubeAPIServer: { enabled: true } } };

function desired(spec: BaselinePolicySpec, addresses = NO_ADDRESSES, where = SHOP): DesiredSet {
  return policy('restricted').with(spec).desiredIn(where, addresses);
}

function settled(wanted: DesiredSet, ...unsettled: string[]): SettledState {
  return { desired: wanted, unsettled: new Set(unsettled) };
}

/** Every child of the set as the operator made it, but for those that replace them. */
function madeFrom(wanted: DesiredSet, ...replaced: LiveBuilder[]): LiveBuilder[] {
  const names = new Set(replaced.map((object) => object.wire().metadata.name));
  return [...[...wanted.children.values()].filter(({ name }) => !names.has(name)).map(live), ...replaced];
}

/** What of the difference is drift, as `<name>: <reason>`. */
function drift(wanted: DesiredSet, state: SettledState | undefined, objects: readonly LiveBuilder[]): string[] {
  const changes = diffChildren(wanted, liveByName(...objects), 'uid-of-restricted');
  assert.notEqual(changes.length, 0, 'expected a difference');
  return changes.flatMap((change) => {
    const reason = driftOf(change, state);
    return reason === undefined ? [] : [`${change.name}: ${reason}`];
  });
}

describe('driftOf', () => {
  describe('is drift', () => {
    const without = madeFrom(BASE).filter((object) => object.wire().metadata.name !== DNS.name);
    const cases: readonly (readonly [what: string, objects: LiveBuilder[], expected: string])[] = [
      ['a deleted child', without, 'restricted.allow-dns: Missing'],
      ['a changed spec', madeFrom(BASE, live(DNS).withSpec({})), 'restricted.allow-dns: Modified'],
      [
        'a rule that a tenant adds',
        madeFrom(BASE, live(DNS).withSpec({ ...DNS.template.spec, ingress: [{}] })),
        'restricted.allow-dns: Modified',
      ],
      ['stripped labels', madeFrom(BASE, live(DNS).withoutLabels()), 'restricted.allow-dns: Metadata'],
      ['a stripped owner', madeFrom(BASE, live(DNS).ownedBy()), 'restricted.allow-dns: Metadata'],
      [
        'an object with our owner that nobody wanted',
        [...madeFrom(BASE), live(DNS).withMetadata({ name: 'planted', uid: 'planted' })],
        'planted: Unexpected',
      ],
      ['a foreign object in the way', madeFrom(BASE, foreign(DNS.name)), 'restricted.allow-dns: NameConflict'],
    ];
    for (const [what, objects, expected] of cases) {
      it(what, () => {
        assert.deepEqual(drift(BASE, settled(BASE), objects), [expected]);
      });
    }

    it('what somebody does to a child that a change of the spec is not about', () => {
      const after = desired({ rules: { allowSameNamespace: { enabled: true } } });
      assert.deepEqual(drift(after, settled(BASE), madeFrom(BASE, live(DNS).withSpec({}))), [
        'restricted.allow-dns: Modified',
      ]);
    });

    it('a foreign object in the way of a new namespace', () => {
      assert.deepEqual(drift(BASE, undefined, [foreign(DNS.name)]), ['restricted.allow-dns: NameConflict']);
    });
  });

  describe('is no drift', () => {
    it('a new namespace', () => {
      assert.deepEqual(drift(BASE, undefined, []), []);
    });

    it('whatever is found in a namespace that was not looked at yet', () => {
      const planted = live(DNS).withMetadata({ name: 'planted', uid: 'planted' });
      assert.deepEqual(drift(BASE, undefined, [live(DNS).withSpec({}), planted]), []);
    });

    it('a rule that is new in the spec', () => {
      const after = desired({ rules: { allowSameNamespace: { enabled: true } } });
      assert.deepEqual(drift(after, settled(BASE), madeFrom(BASE)), []);
    });

    it('a rule whose options change', () => {
      const after = desired({ rules: { allowDNS: { targets: ['KubeDNS'] } } });
      assert.deepEqual(drift(after, settled(BASE), madeFrom(BASE)), []);
    });

    it('a description that changes', () => {
      assert.deepEqual(drift(desired({ description: 'new' }), settled(BASE), madeFrom(BASE)), []);
    });

    it('a rule that the spec disables', () => {
      const after = desired({ rules: { allowDNS: { enabled: false } } });
      assert.deepEqual(drift(after, settled(BASE), madeFrom(BASE)), []);
    });

    it('addresses that become known, or that move', () => {
      const unknown = desired(WITH_API_SERVER);
      const known = desired(WITH_API_SERVER, KNOWN);
      assert.deepEqual(drift(known, settled(unknown), madeFrom(unknown)), []);
      assert.deepEqual(drift(desired(WITH_API_SERVER, MOVED), settled(known), madeFrom(known)), []);
    });

    it('a label of the namespace that changes or goes', () => {
      const spec = {
        additionalPolicies: [
          { name: 'team', spec: { podSelector: { matchLabels: { a: "$(namespace.labels['team'])" } } } },
        ],
      };
      const blue = desired(spec);
      const red = desired(spec, NO_ADDRESSES, SHOP.labelled({ team: 'red' }));
      assert.deepEqual(drift(red, settled(blue), madeFrom(blue)), []);
      assert.deepEqual(drift(desired(spec, NO_ADDRESSES, namespace('shop')), settled(blue), madeFrom(blue)), []);
    });

    it('a child that could not be made or mended at the last look', () => {
      assert.deepEqual(drift(BASE, settled(BASE, ...BASE.children.keys()), []), []);
      assert.deepEqual(drift(BASE, settled(BASE, DNS.name), madeFrom(BASE, live(DNS).withSpec({}))), []);
    });

    it('a child that the spec disabled and that could not be deleted at the last look', () => {
      const after = desired({ rules: { allowDNS: { enabled: false } } });
      assert.deepEqual(drift(after, settled(after, DNS.name), madeFrom(BASE)), []);
    });

    it('a child that was withheld when the spec disables its rule', () => {
      const withheld = desired(WITH_API_SERVER);
      const objects = madeFrom(desired(WITH_API_SERVER, KNOWN));
      assert.deepEqual(drift(BASE, settled(withheld), objects), []);
    });
  });
});
