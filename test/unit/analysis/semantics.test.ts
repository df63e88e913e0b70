import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/analysis/address.ts';
import type { Workload } from '../../../src/analysis/cluster.ts';
import { allowedPorts, type Endpoint } from '../../../src/analysis/evaluate.ts';
import { addressEndpoint, podEndpoint } from '../../../src/analysis/model.ts';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import type { Labels } from '../../../src/policy/selector.ts';
import { modelOf, networkPolicy, workload } from '../../support/cluster-fixtures.ts';

const NAMESPACES: Readonly<Record<string, Labels>> = {
  shop: { team: 'blue' },
  bank: { team: 'red', 'kubernetes.io/metadata.name': 'not its name' },
};
const http = { name: 'http', protocol: 'TCP', port: 8080 } as const;
const web = workload('shop/web', { ports: [http] });
const db = workload('shop/db', { labels: { app: 'db', tier: 'back' }, ports: [{ ...http, port: 9090 }] });
const teller = workload('bank/teller', { ports: [{ ...http, protocol: 'UDP', port: 53 }] });
/** In a namespace that no object gives. */
const stranger = workload('elsewhere/stranger');

const EVERYONE = 'all ports';
const NOBODY = 'no port';
const INGRESS = ['Ingress' as const];
const EGRESS = ['Egress' as const];
const APP_WEB = { matchLabels: { app: 'web' } };
const APP_DB = { matchLabels: { app: 'db' } };

type End = Workload | string;
/** Ports from the first end to the second, as PortSet writes them. */
type Expected = readonly [source: End, destination: End, ports: string];

/** Sentences of the semantics; what the policies of `shop` are (wire JSON); and what they then allow. */
const TABLE: readonly (readonly [
  sentence: string,
  policies: readonly (NetworkPolicySpec | string)[],
  expected: readonly Expected[],
])[] = [
  [
    'a pod that no policy selects is not isolated',
    [{ podSelector: { matchLabels: { app: 'nothing' } }, policyTypes: ['Ingress', 'Egress'] }],
    [
      [web, db, EVERYONE],
      ['1.2.3.4', web, EVERYONE],
      [web, '1.2.3.4', EVERYONE],
    ],
  ],
  [
    'a policy isolates only pods of its own namespace',
    [{ policyTypes: ['Ingress', 'Egress'] }],
    [
      [teller, stranger, EVERYONE],
      [teller, web, NOBODY],
      [web, teller, NOBODY],
    ],
  ],
  [
    'absent policyTypes without egress rules mean Ingress',
    ['{"podSelector":{"matchLabels":{"app":"web"}},"egress":[]}'],
    [
      [db, web, NOBODY],
      [web, db, EVERYONE],
    ],
  ],
  [
    'absent policyTypes with egress rules mean Ingress and Egress',
    ['{"podSelector":{"matchLabels":{"app":"web"}},"policyTypes":null,"egress":[{"ports":[{"port":53}]}]}'],
    [
      [db, web, NOBODY],
      [web, db, '53/TCP'],
    ],
  ],
  [
    'rules of a direction whose type is missing are ignored',
    [{ podSelector: APP_WEB, policyTypes: INGRESS, ingress: [{}], egress: [{ ports: [{ port: 53 }] }] }],
    [
      [web, db, EVERYONE],
      [db, web, EVERYONE],
    ],
  ],
  [
    'a direction without rules allows none',
    [{ podSelector: APP_WEB, policyTypes: EGRESS }],
    [
      [web, db, NOBODY],
      [web, '1.2.3.4', NOBODY],
      [db, web, EVERYONE],
    ],
  ],
  [
    'traffic needs egress of the source and ingress of the destination',
    [
      { podSelector: APP_WEB, policyTypes: EGRESS, egress: [{ ports: [{ port: 80, endPort: 90 }] }] },
      { podSelector: APP_DB, policyTypes: INGRESS, ingress: [{ ports: [{ port: 85, endPort: 95 }] }] },
    ],
    [
      [web, db, '85-90/TCP'],
      [web, teller, '80-90/TCP'],
      [teller, db, '85-95/TCP'],
    ],
  ],
  [
    'policies that select one pod add up',
    [
      { podSelector: APP_WEB, policyTypes: INGRESS, ingress: [{ ports: [{ port: 80 }] }] },
      { policyTypes: INGRESS, ingress: [{ ports: [{ port: 443 }] }] },
    ],
    [
      [db, web, '80/TCP, 443/TCP'],
      [web, db, '443/TCP'],
    ],
  ],
  ...['{}', '{"from":[],"ports":[]}', '{"from":null,"ports":null}'].map(
    (rule) =>
      [
        `the rule ${rule} allows everyone, on every port`,
        [`{"policyTypes":["Ingress"],"ingress":[${rule}]}`],
        [
          [stranger, web, EVERYONE],
          ['1.2.3.4', web, EVERYONE],
          ['2001:db8::1', web, EVERYONE],
        ],
      ] as const,
  ),
  [
    'a protocol without port is all ports of it, and no protocol is TCP',
    [{ podSelector: APP_WEB, policyTypes: INGRESS, ingress: [{ ports: [{ protocol: 'SCTP' }, { port: 80 }] }] }],
    [[db, web, 'all SCTP ports, 80/TCP']],
  ],
  [
    'a port without protocol and number is all of TCP',
    ['{"policyTypes":["Ingress"],"ingress":[{"ports":[{"protocol":null,"port":null}]}]}'],
    [[db, web, 'all TCP ports']],
  ],
  [
    'endPort makes a range with both ends',
    [{ policyTypes: INGRESS, ingress: [{ ports: [{ protocol: 'UDP', port: 1000, endPort: 2000 }] }] }],
    [[db, web, '1000-2000/UDP']],
  ],
  [
    'a named port of ingress is that of the selected pod',
    [{ policyTypes: INGRESS, ingress: [{ ports: [{ port: 'http' }] }] }],
    [
      [teller, web, '8080/TCP'],
      [teller, db, '9090/TCP'],
      [db, web, '8080/TCP'],
    ],
  ],
  [
    'a named port of egress is that of each destination, with its protocol',
    [{ policyTypes: EGRESS, egress: [{ ports: [{ port: 'http' }, { protocol: 'UDP', port: 'http' }] }] }],
    [
      [web, db, '9090/TCP'],
      [db, web, '8080/TCP'],
      [web, teller, '53/UDP'],
      [web, stranger, NOBODY],
    ],
  ],
  [
    'a named port of another protocol is another port',
    [
      { policyTypes: EGRESS, egress: [{ ports: [{ port: 'http' }] }] },
      { podSelector: APP_WEB, policyTypes: INGRESS, ingress: [{ ports: [{ protocol: 'UDP', port: 'http' }] }] },
    ],
    [
      [web, teller, NOBODY],
      [teller, web, NOBODY],
      [web, db, '9090/TCP'],
    ],
  ],
  [
    'a named port matches no address outside the cluster',
    [{ policyTypes: EGRESS, egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 'http' }] }] }],
    [[web, '1.2.3.4', NOBODY]],
  ],
  [
    'a peer without namespaceSelector is for pods of the own namespace',
    [{ policyTypes: INGRESS, ingress: [{ from: [{ podSelector: {} }] }] }],
    [
      [db, web, EVERYONE],
      [teller, web, NOBODY],
      ['1.2.3.4', web, NOBODY],
    ],
  ],
  [
    'an empty namespaceSelector is for pods of all namespaces, not for addresses',
    [{ policyTypes: INGRESS, ingress: [{ from: [{ namespaceSelector: {} }] }] }],
    [
      [db, web, EVERYONE],
      [teller, web, EVERYONE],
      [stranger, web, EVERYONE],
      ['1.2.3.4', web, NOBODY],
    ],
  ],
  [
    'selectors in one peer must both match',
    [
      {
        podSelector: APP_WEB,
        policyTypes: INGRESS,
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 'blue' } }, podSelector: APP_DB }] }],
      },
    ],
    [
      [db, web, EVERYONE],
      [teller, web, NOBODY],
      [workload('bank/db'), web, NOBODY],
      [workload('shop/other'), web, NOBODY],
    ],
  ],
  [
    'of selectors in two peers, one is enough',
    [
      {
        podSelector: APP_WEB,
        policyTypes: INGRESS,
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 'red' } } }, { podSelector: APP_DB }] }],
      },
    ],
    [
      [db, web, EVERYONE],
      [teller, web, EVERYONE],
      [workload('shop/other'), web, NOBODY],
    ],
  ],
  [
    'every namespace has its name as a label, whatever its object says, and without any',
    [
      {
        policyTypes: INGRESS,
        ingress: [
          {
            from: [
              {
                namespaceSelector: {
                  matchExpressions: [
                    { key: 'kubernetes.io/metadata.name', operator: 'In', values: ['bank', 'elsewhere'] },
                  ],
                },
              },
            ],
          },
        ],
      },
    ],
    [
      [teller, web, EVERYONE],
      [stranger, web, EVERYONE],
      [db, web, NOBODY],
    ],
  ],
  [
    'NotIn and DoesNotExist match a missing key',
    [
      {
        podSelector: APP_WEB,
        policyTypes: INGRESS,
        ingress: [
          {
            from: [{ podSelector: { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['back'] }] } }],
            ports: [{ port: 1 }],
          },
          {
            from: [{ podSelector: { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] } }],
            ports: [{ port: 2 }],
          },
          {
            from: [{ podSelector: { matchExpressions: [{ key: 'tier', operator: 'Exists' }] } }],
            ports: [{ port: 3 }],
          },
        ],
      },
    ],
    [
      [workload('shop/other'), web, '1-2/TCP'],
      [db, web, '3/TCP'],
    ],
  ],
  [
    'an exception takes away from its own block only',
    [
      {
        policyTypes: EGRESS,
        egress: [
          {
            to: [
              { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16', '10.2.0.0/16'] } },
              { ipBlock: { cidr: '10.1.128.0/17' } },
            ],
          },
        ],
      },
    ],
    [
      [web, '10.0.0.0', EVERYONE],
      [web, '10.255.255.255', EVERYONE],
      [web, '10.1.0.1', NOBODY],
      [web, '10.1.128.0', EVERYONE],
      [web, '10.2.0.1', NOBODY],
      [web, '11.0.0.0', NOBODY],
    ],
  ],
  [
    'blocks of IPv4 and IPv6 have nothing in common',
    [{ policyTypes: INGRESS, ingress: [{ from: [{ ipBlock: { cidr: '::/0', except: ['2001:db8::/32'] } }] }] }],
    [
      ['2001:db7::1', web, EVERYONE],
      ['2001:db8::1', web, NOBODY],
      ['1.2.3.4', web, NOBODY],
    ],
  ],
];

function endpoint(model: ReturnType<typeof modelOf>, end: End): Endpoint {
  return typeof end === 'string' ? addressEndpoint([parseAddress(end)]) : podEndpoint(model.cluster, end, []);
}

describe('what NetworkPolicies allow', () => {
  for (const [sentence, specs, expected] of TABLE) {
    it(sentence, () => {
      const policies = specs.map((spec, index) => networkPolicy(`shop/policy-${index}`, spec));
      const model = modelOf({ namespaces: NAMESPACES, policies });
      for (const [source, destination, ports] of expected) {
        const allowed = allowedPorts(model.policies, endpoint(model, source), endpoint(model, destination));
        const name = (end: End): string => (typeof end === 'string' ? end : `${end.namespace}/${end.name}`);
        assert.equal(allowed.toString(), ports, `${name(source)} -> ${name(destination)}`);
      }
    });
  }
});
