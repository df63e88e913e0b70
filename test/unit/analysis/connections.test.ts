import assert from 'node:assert/strict';
import { connections, type ConnectionOptions } from '../../../src/analysis/connections.ts';
import type { Model } from '../../../src/analysis/model.ts';
import { blockRanges } from '../../../src/analysis/policy.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const WORLD = '0.0.0.0-255.255.255.255';

/** The connections, one a line. */
function lines(model: Model, options?: ConnectionOptions): string[] {
  return [...connections(model, options)].map(
    ({ src, dst, connections: ports }) => `${src} -> ${dst}: ${JSON.stringify(ports)}`,
  );
}

describe('connections', () => {
  it('lists each allowed pair once, without a workload to itself and without pairs of outside ranges', () => {
    const model = modelOf({ workloads: [workload('shop/web', { kind: 'Deployment' }), workload('bank/teller')] });
    assert.deepEqual(
      [...connections(model)],
      [
        { src: 'bank/teller[Pod]', dst: 'shop/web[Deployment]', connections: 'all' },
        { src: 'bank/teller[Pod]', dst: WORLD, connections: 'all' },
        { src: 'shop/web[Deployment]', dst: 'bank/teller[Pod]', connections: 'all' },
        { src: 'shop/web[Deployment]', dst: WORLD, connections: 'all' },
        { src: WORLD, dst: 'bank/teller[Pod]', connections: 'all' },
        { src: WORLD, dst: 'shop/web[Deployment]', connections: 'all' },
      ],
    );
  });

  it('leaves out pairs that are not allowed, and merges and sorts ports', () => {
    const model = modelOf({
      workloads: [workload('shop/web'), workload('shop/db')],
      policies: [
        networkPolicy('shop/deny', { policyTypes: ['Ingress', 'Egress'] }),
        networkPolicy('shop/web', {
          podSelector: { matchLabels: { app: 'web' } },
          policyTypes: ['Egress'],
          egress: [{ to: [{ podSelector: {} }] }],
        }),
        networkPolicy('shop/db', {
          podSelector: { matchLabels: { app: 'db' } },
          policyTypes: ['Ingress'],
          ingress: [
            {
              from: [{ podSelector: {} }],
              ports: [
                { protocol: 'UDP', port: 53 },
                { port: 81, endPort: 90 },
                { port: 80 },
                { port: 443 },
                { protocol: 'SCTP', port: 7 },
                { port: 85, endPort: 95 },
              ],
            },
          ],
        }),
      ],
    });
    assert.deepEqual(
      [...connections(model)],
      [
        {
          src: 'shop/web[Pod]',
          dst: 'shop/db[Pod]',
          connections: [
            { protocol: 'SCTP', port: 7 },
            { protocol: 'TCP', port: 80, endPort: 95 },
            { protocol: 'TCP', port: 443 },
            { protocol: 'UDP', port: 53 },
          ],
        },
      ],
    );
  });

  it('cuts outside addresses where connections differ, and nowhere else', () => {
    const model = modelOf({
      workloads: [workload('shop/web')],
      policies: [
        networkPolicy('shop/deny', { policyTypes: ['Ingress', 'Egress'] }),
        networkPolicy('shop/out', {
          policyTypes: ['Egress'],
          egress: [
            {
              to: [{ ipBlock: { cidr: '10.0.0.0/9' } }, { ipBlock: { cidr: '10.128.0.0/9' } }],
              ports: [{ port: 443 }],
            },
            { to: [{ ipBlock: { cidr: '10.1.0.0/16', except: ['10.1.1.0/24'] } }], ports: [{ port: 80 }] },
          ],
        }),
      ],
    });
    const [https, both] = [
      '[{"protocol":"TCP","port":443}]',
      '[{"protocol":"TCP","port":80},{"protocol":"TCP","port":443}]',
    ];
    assert.deepEqual(lines(model), [
      `shop/web[Pod] -> 10.0.0.0-10.0.255.255: ${https}`,
      `shop/web[Pod] -> 10.1.0.0-10.1.0.255: ${both}`,
      `shop/web[Pod] -> 10.1.1.0-10.1.1.255: ${https}`,
      `shop/web[Pod] -> 10.1.2.0-10.1.255.255: ${both}`,
      `shop/web[Pod] -> 10.2.0.0-10.255.255.255: ${https}`,
    ]);
  });

  it('cuts outside addresses where it is told to, so that two clusters can be compared', () => {
    const workloads = [workload('shop/web')];
    const policies = [
      networkPolicy('shop/out', { policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
    ];
    const [before, after] = [modelOf({ workloads }), modelOf({ workloads, policies })];
    const cutAt = [before, after].flatMap((model) => blockRanges(model.policies));
    const outgoing = (model: Model): string[] =>
      lines(model, { cutAt }).filter((line) => line.startsWith('shop/web[Pod] ->'));
    assert.deepEqual(outgoing(after), ['shop/web[Pod] -> 10.0.0.0-10.255.255.255: "all"']);
    assert.deepEqual(outgoing(before), [
      'shop/web[Pod] -> 0.0.0.0-9.255.255.255: "all"',
      'shop/web[Pod] -> 10.0.0.0-10.255.255.255: "all"',
      'shop/web[Pod] -> 11.0.0.0-255.255.255.255: "all"',
    ]);
  });

  it('covers IPv6 when a policy speaks of it', () => {
    const policies = [
      networkPolicy('shop/in', {
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ ipBlock: { cidr: '2001:db8::/32' } }] }],
      }),
    ];
    assert.deepEqual(lines(modelOf({ workloads: [workload('shop/web')], policies })), [
      `shop/web[Pod] -> ${WORLD}: "all"`,
      'shop/web[Pod] -> ::-2001:db7:ffff:ffff:ffff:ffff:ffff:ffff: "all"',
      'shop/web[Pod] -> 2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff: "all"',
      'shop/web[Pod] -> 2001:db9::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff: "all"',
      '2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff -> shop/web[Pod]: "all"',
    ]);
  });

  it('leaves workloads of the host network out, or takes them for others', () => {
    const model = modelOf({ workloads: [workload('shop/web'), workload('shop/agent', { hostNetwork: true })] });
    assert.deepEqual(lines(model), [`shop/web[Pod] -> ${WORLD}: "all"`, `${WORLD} -> shop/web[Pod]: "all"`]);
    assert.deepEqual(lines(model, { hostNetwork: 'as-pods' }), [
      'shop/agent[Pod] -> shop/web[Pod]: "all"',
      `shop/agent[Pod] -> ${WORLD}: "all"`,
      'shop/web[Pod] -> shop/agent[Pod]: "all"',
      `shop/web[Pod] -> ${WORLD}: "all"`,
      `${WORLD} -> shop/agent[Pod]: "all"`,
      `${WORLD} -> shop/web[Pod]: "all"`,
    ]);
  });

  it('matches pods by ipBlocks when told to, where their addresses are known', () => {
    const model = modelOf({
      workloads: [
        workload('shop/web'),
        workload('shop/known', { ips: ['10.0.0.7', 'fd00::7'] }),
        workload('shop/unknown'),
      ],
      policies: [
        networkPolicy('shop/out', {
          podSelector: { matchLabels: { app: 'web' } },
          policyTypes: ['Egress'],
          egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }],
        }),
      ],
    });
    const ofWeb = (options: ConnectionOptions): string[] =>
      lines(model, options).filter((line) => line.startsWith('shop/web'));
    assert.deepEqual(ofWeb({}), ['shop/web[Pod] -> 10.0.0.0-10.255.255.255: "all"']);
    assert.deepEqual(ofWeb({ ipBlockMatchesPods: true }), [
      'shop/web[Pod] -> shop/known[Pod]: "all"',
      'shop/web[Pod] -> 10.0.0.0-10.255.255.255: "all"',
    ]);
  });
});
