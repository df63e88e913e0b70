import assert from 'node:assert/strict';
import type { BaselinePolicySpec } from '../../../src/api/baselinepolicy.ts';
import type { DesiredSet } from '../../../src/policy/desired.ts';
import { diffChildren, isOwned, reasonOf, stepOf, type Change } from '../../../src/policy/diff.ts';
import { childOf, foreign, live, liveByName, namespace, policy, type LiveBuilder } from '../../support/fixtures.ts';

const UID = 'uid-of-restricted';
const SHOP = namespace('shop');
const DESIRED = desired({});
const DENY = childOf(DESIRED, 'default-deny');
const DNS = childOf(DESIRED, 'allow-dns');
const MONITORING = childOf(DESIRED, 'allow-monitoring');
const NOTHING: DesiredSet = { children: new Map(), withheld: [], unresolved: [] };

function desired(spec: BaselinePolicySpec): DesiredSet {
  return policy('restricted').with(spec).desiredIn(SHOP);
}

function diff(wanted: DesiredSet, ...objects: LiveBuilder[]): Change[] {
  return diffChildren(wanted, liveByName(...objects), UID);
}

/** Kinds and names of changes, as one line each. */
function lines(changes: readonly Change[]): string[] {
  return changes.map(({ kind, name }) => `${kind} ${name}`);
}

/** All three children as they should be, but for those that replace them. */
function allRight(...replaced: LiveBuilder[]): LiveBuilder[] {
  const names = new Set(replaced.map((object) => object.wire().metadata.name));
  return [...[DENY, DNS, MONITORING].filter(({ name }) => !names.has(name)).map(live), ...replaced];
}

describe('diffChildren', () => {
  it('has no changes when all is right', () => {
    assert.deepEqual(diff(DESIRED, ...allRight()), []);
  });

  it('has no changes when the live objects are spelled as the API server spells them', () => {
    const spelled = live(DENY).withSpec({ policyTypes: ['Egress', 'Ingress'], podSelector: { matchLabels: {} } });
    assert.deepEqual(diff(DESIRED, ...allRight(spelled)), []);
  });

  it('creates everything in an empty namespace, default-deny last', () => {
    assert.deepEqual(lines(diff(DESIRED)), [
      'create restricted.allow-dns',
      'create restricted.allow-monitoring',
      'create restricted.default-deny',
    ]);
  });

  it('updates a child whose spec a tenant has opened', () => {
    const opened = live(DENY).withSpec({ podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{}] });
    assert.deepEqual(diff(DESIRED, ...allRight(opened)), [
      {
        kind: 'update',
        name: DENY.name,
        child: DENY,
        live: opened.build(),
        identityDiffers: false,
        specDiffers: true,
      },
    ]);
  });

  it('updates a child whose labels were stripped', () => {
    const stripped = live(DNS).withoutLabels();
    assert.deepEqual(diff(DESIRED, ...allRight(stripped)), [
      {
        kind: 'update',
        name: DNS.name,
        child: DNS,
        live: stripped.build(),
        identityDiffers: true,
        specDiffers: false,
      },
    ]);
  });

  it('says when spec and metadata differ both', () => {
    const [change] = diff(DESIRED, ...allRight(live(DNS).withoutLabels().withSpec({})));
    assert.ok(change?.kind === 'update');
    assert.equal(change.identityDiffers, true);
    assert.equal(change.specDiffers, true);
  });

  it('leaves labels and annotations of others alone', () => {
    assert.deepEqual(diff(DESIRED, ...allRight(live(DNS).labelled({ a: 'b' }).annotated({ c: 'd' }))), []);
  });

  it('finds a child without owner by its last known one, and updates it', () => {
    assert.deepEqual(lines(diff(DESIRED, ...allRight(live(DNS).ownedBy()))), ['update restricted.allow-dns']);
    assert.deepEqual(lines(diff(DESIRED, ...allRight(live(DNS).ownedBy().withoutLabels().withSpec({})))), [
      'update restricted.allow-dns',
    ]);
  });

  it('never changes a foreign object that has the name of a child', () => {
    const inTheWay = foreign(DNS.name);
    assert.deepEqual(diff(DESIRED, ...allRight(inTheWay)), [
      { kind: 'conflict', name: DNS.name, child: DNS, live: inTheWay.build() },
    ]);
    assert.deepEqual(diff(NOTHING, inTheWay), []);
  });

  it('does not take an object for its own by labels or spec', () => {
    const lookalike = foreign(DNS.name)
      .labelled(live(DNS).wire().metadata.labels ?? {})
      .withSpec(DNS.template.spec);
    assert.deepEqual(lines(diff(DESIRED, ...allRight(lookalike))), ['conflict restricted.allow-dns']);
  });

  it('never changes the child of another BaselinePolicy, nor an older one of the same name', () => {
    const others = [...policy('other').desiredIn(SHOP).children.values()].map(live);
    assert.deepEqual(diff(DESIRED, ...allRight(), ...others), []);
    assert.deepEqual(diff(NOTHING, ...others), []);
    const [reference] = live(DNS).wire().metadata.ownerReferences ?? [];
    assert.ok(reference !== undefined);
    const older = foreign(DNS.name).ownedBy({ ...reference, uid: 'uid-of-an-older-restricted' });
    assert.deepEqual(lines(diff(DESIRED, ...allRight(older))), ['conflict restricted.allow-dns']);
  });

  it('deletes a child that is not wanted any more', () => {
    const changes = diff(desired({ rules: { allowMonitoring: { enabled: false } } }), ...allRight());
    assert.deepEqual(changes, [{ kind: 'delete', name: MONITORING.name, live: live(MONITORING).build() }]);
  });

  it('deletes an object of any name that has the policy as owner', () => {
    const planted = live(DNS).withMetadata({ name: 'planted', uid: 'planted' });
    assert.deepEqual(lines(diff(DESIRED, ...allRight(), planted)), ['delete planted']);
  });

  it('deletes everything that is its own when nothing is wanted', () => {
    assert.deepEqual(lines(diff(NOTHING, ...allRight(live(DNS).ownedBy()))).sort(), [
      'delete restricted.allow-dns',
      'delete restricted.allow-monitoring',
      'delete restricted.default-deny',
    ]);
  });

  it('leaves a withheld child as it is, live or not', () => {
    const wanted = desired({ rules: { allowKubeAPIServer: { enabled: true } } });
    const known = policy('restricted')
      .with({ rules: { allowKubeAPIServer: { enabled: true } } })
      .desiredIn(SHOP, {
        kubeDNSClusterIPs: [],
        apiServerEndpoints: [{ addresses: ['192.0.2.1'], ports: [{ protocol: 'TCP', port: 6443 }] }],
        apiServerClusterIPs: [],
      });
    const before = live(childOf(known, 'allow-kube-apiserver'));
    assert.deepEqual(diff(wanted, ...allRight()), []);
    assert.deepEqual(diff(wanted, ...allRight(), before), []);
    assert.deepEqual(diff(wanted, ...allRight(), before.withSpec({})), []);
  });

  it('deletes a child whose variable the namespace has lost', () => {
    const additionalPolicies = [
      { name: 'team', spec: { podSelector: { matchLabels: { a: "$(namespace.labels['team'])" } } } },
    ];
    const labelled = policy('restricted')
      .with({ additionalPolicies })
      .desiredIn(SHOP.labelled({ team: 'blue' }));
    assert.deepEqual(lines(diff(desired({ additionalPolicies }), ...allRight(live(childOf(labelled, 'team'))))), [
      'delete restricted.team',
    ]);
  });

  it('leaves a child alone that is being deleted, and does not create it while it is there', () => {
    const going = live(DNS).withSpec({}).beingDeleted();
    assert.deepEqual(diff(DESIRED, ...allRight(going)), []);
    assert.deepEqual(diff(NOTHING, going), []);
  });

  it('reports a foreign object in the way even while it is being deleted', () => {
    assert.deepEqual(lines(diff(DESIRED, ...allRight(foreign(DNS.name).beingDeleted()))), [
      'conflict restricted.allow-dns',
    ]);
  });
});

describe('isOwned', () => {
  it('is true with our owner UID, now or when one was last seen', () => {
    assert.equal(isOwned(live(DNS).build(), UID), true);
    assert.equal(isOwned(live(DNS).ownedBy().build(), UID), true);
  });

  it('is false for others', () => {
    assert.equal(isOwned(live(DNS).build(), 'another'), false);
    assert.equal(isOwned(live(DNS).ownedBy().build(), 'another'), false);
    assert.equal(isOwned(foreign(DNS.name).build(), UID), false);
  });

  it('is false when another BaselinePolicy owns it now', () => {
    const [reference] = live(DNS).wire().metadata.ownerReferences ?? [];
    assert.ok(reference !== undefined);
    assert.equal(
      isOwned(
        live(DNS)
          .ownedBy({ ...reference, uid: 'another' })
          .build(),
        UID,
      ),
      false,
    );
  });
});

describe('reasonOf', () => {
  it('names what somebody would have done', () => {
    const reason = (...objects: LiveBuilder[]): string[] => diff(DESIRED, ...objects).map(reasonOf);
    assert.deepEqual(reason(live(DENY), live(DNS)), ['Missing']);
    assert.deepEqual(reason(...allRight(live(DNS).withSpec({}))), ['Modified']);
    assert.deepEqual(reason(...allRight(live(DNS).withSpec({}).withoutLabels())), ['Modified']);
    assert.deepEqual(reason(...allRight(live(DNS).withoutLabels())), ['Metadata']);
    assert.deepEqual(reason(...allRight(live(DNS).ownedBy())), ['Metadata']);
    assert.deepEqual(reason(...allRight(foreign(DNS.name))), ['NameConflict']);
    assert.deepEqual(reason(...allRight(), live(DNS).withMetadata({ name: 'planted', uid: 'planted' })), [
      'Unexpected',
    ]);
  });
});

describe('stepOf', () => {
  const inSteps = (changes: readonly Change[]): string[] =>
    [...changes]
      .sort((a, b) => stepOf(a) - stepOf(b))
      .map((change) => `${stepOf(change)} ${change.kind} ${change.name}`);

  it('makes allows first and default-deny last', () => {
    assert.deepEqual(inSteps(diff(DESIRED)), [
      '1 create restricted.allow-dns',
      '1 create restricted.allow-monitoring',
      '2 create restricted.default-deny',
    ]);
  });

  it('removes default-deny first and allows last', () => {
    assert.deepEqual(inSteps(diff(NOTHING, ...allRight())), [
      '0 delete restricted.default-deny',
      '3 delete restricted.allow-dns',
      '3 delete restricted.allow-monitoring',
    ]);
  });

  it('puts changes between both, allows before default-deny', () => {
    const changed = allRight(live(DENY).withSpec({}), live(DNS).withSpec({}));
    assert.deepEqual(inSteps(diff(desired({ rules: { allowMonitoring: { enabled: false } } }), ...changed)), [
      '1 update restricted.allow-dns',
      '2 update restricted.default-deny',
      '3 delete restricted.allow-monitoring',
    ]);
  });

  it('takes no additional policy for default-deny', () => {
    const spec = { rules: { defaultDeny: { enabled: false } }, additionalPolicies: [{ name: 'deny', spec: {} }] };
    assert.ok(diff(desired(spec)).every((change) => stepOf(change) === 1));
  });
});
