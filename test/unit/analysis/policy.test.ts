import assert from 'node:assert/strict';
import { PolicyError, readPolicies } from '../../../src/analysis/policy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const REFUSED: readonly (readonly [spec: string, path: string, problem: RegExp])[] = [
  ['{"ingress":[{"from":[{}]}]}', 'spec.ingress[0].from[0]', /expected podSelector, .*, found none/],
  [
    '{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0"}}]}]}',
    'spec.ingress[0].from[0]',
    /expected a CIDR, found "10.0.0.0"/,
  ],
  [
    '{"egress":[{},{"to":[{"podSelector":{}},{"ipBlock":{"cidr":"::/0","except":["x"]}}]}]}',
    'spec.egress[1].to[1]',
    /expected a CIDR, found "x"/,
  ],
  [
    '{"ingress":[{"from":[{"podSelector":{},"ipBlock":{"cidr":"::/0"}}]}]}',
    'spec.ingress[0].from[0]',
    /expected ipBlock alone/,
  ],
  ['{"ingress":[{"ports":[{"port":0}]}]}', 'spec.ingress[0].ports[0]', /expected a port from 1 to 65535, found 0$/],
  ['{"ingress":[{"ports":[{"port":90,"endPort":80}]}]}', 'spec.ingress[0].ports[0]', /found 90 to 80/],
  ['{"ingress":[{"ports":[{"port":"http","endPort":80}]}]}', 'spec.ingress[0].ports[0]', /beside endPort, found http/],
  ['{"ingress":[{"ports":[{"protocol":"ICMP"}]}]}', 'spec.ingress[0].ports[0]', /found ICMP/],
  [
    '{"podSelector":{"matchExpressions":[{"key":"app","operator":"Is"}]}}',
    'spec.podSelector',
    /expected the operator of app to be In, .*, found Is/,
  ],
];

describe('readPolicies', () => {
  for (const [spec, path, problem] of REFUSED) {
    it(`refuses ${spec}, and says where`, () => {
      assert.throws(
        () => readPolicies([networkPolicy('shop/broken', spec)]),
        (error) => {
          assert.ok(error instanceof PolicyError);
          assert.equal(error.policy, 'shop/broken');
          assert.equal(error.path, path);
          assert.match(error.message, problem);
          return true;
        },
      );
    });
  }

  it('takes a policy without a spec or a namespace for one of all pods in default', () => {
    const [policy] = readPolicies([{ metadata: { name: 'bare' } }]);
    assert.equal(policy?.namespace, 'default');
    assert.deepEqual(policy.rules, { Ingress: [] });
  });
});

describe('readModel', () => {
  it('refuses two workloads, or two policies, of one name', () => {
    assert.throws(
      () => modelOf({ workloads: [workload('shop/web'), workload('shop/web')] }),
      /one workload shop\/web\[Pod\], found two/,
    );
    const policy = networkPolicy('shop/twin', {});
    assert.throws(() => modelOf({ policies: [policy, policy] }), /one NetworkPolicy shop\/twin, found two/);
  });

  it('takes workloads of one name and different kinds', () => {
    modelOf({ workloads: [workload('shop/web'), workload('shop/web', { kind: 'Deployment' })] });
  });
});
