import type { NetworkPolicySpec } from '../../src/api/networkpolicy.ts';

/** A NetworkPolicy's spec, and whether it opens its namespace to everyone. */
export interface Opening {
  readonly name: string;
  readonly opens: boolean;
  /** As JSON of the wire, where null and absent are not the same. */
  readonly spec: NetworkPolicySpec;
}

const ALL_PODS = { podSelector: {} };
const FOUR_QUARTERS = ['0.0.0.0/2', '64.0.0.0/2', '128.0.0.0/2', '192.0.0.0/2'];

function opens(name: string, spec: object): Opening {
  return { name: `open-${name}`, opens: true, spec: { ...ALL_PODS, ...spec } };
}

function narrow(name: string, spec: object): Opening {
  return { name: `narrow-${name}`, opens: false, spec: { ...ALL_PODS, ...spec } };
}

function from(...peers: object[]): object {
  return { ingress: [{ from: peers }] };
}

function to(...peers: object[]): object {
  return { policyTypes: ['Egress'], egress: [{ to: peers }] };
}

function blocks(...cidrs: string[]): object[] {
  return cidrs.map((cidr) => ({ ipBlock: { cidr } }));
}

/** Everyone in all spellings that the API server takes, and what looks alike but is less. */
export const OPENINGS: readonly Opening[] = [
  opens('ingress', { ingress: [{}] }),
  opens('ingress-typed', { policyTypes: ['Ingress'], ingress: [{}] }),
  opens('ingress-from-empty', { ingress: [{ from: [] }] }),
  opens('ingress-from-null', { ingress: [{ from: null }] }),
  opens('ingress-on-a-port', { ingress: [{ ports: [{ port: 443 }] }] }),
  opens('ingress-of-some-pods', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{}] }),
  opens('ingress-second-rule', { ingress: [{ from: [{ podSelector: {} }] }, {}] }),
  opens('egress', { policyTypes: ['Egress'], egress: [{}] }),
  opens('egress-untyped', { egress: [{}] }),
  opens('egress-to-empty', to()),
  opens('egress-to-null', { policyTypes: ['Egress'], egress: [{ to: null }] }),
  opens('both', { policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] }),
  opens('namespaces', from({ namespaceSelector: {} })),
  opens('namespaces-and-pods', from({ namespaceSelector: {}, podSelector: {} })),
  opens('namespaces-no-labels', from({ namespaceSelector: { matchLabels: {} } })),
  opens('namespaces-no-expressions', from({ namespaceSelector: { matchExpressions: [] }, podSelector: {} })),
  opens('namespaces-egress', to({ namespaceSelector: {} })),
  opens('namespaces-beside-narrow', from({ podSelector: {} }, { namespaceSelector: {} })),
  opens('ipv4', from(...blocks('0.0.0.0/0'))),
  opens('ipv4-no-excepts', from({ ipBlock: { cidr: '0.0.0.0/0', except: [] } })),
  opens('ipv4-egress', to(...blocks('0.0.0.0/0'))),
  opens('ipv4-egress-on-a-port', {
    policyTypes: ['Egress'],
    egress: [{ to: blocks('0.0.0.0/0'), ports: [{ port: 443 }] }],
  }),
  opens('ipv4-beside-narrow', from(...blocks('10.0.0.0/8', '0.0.0.0/0'))),
  opens('ipv6', from(...blocks('::/0'))),
  opens('ipv6-long', from(...blocks('0:0:0:0:0:0:0:0/0'))),
  opens('ipv6-egress', to(...blocks('::/0'))),
  opens('ipv4-and-ipv6', from(...blocks('0.0.0.0/0', '::/0'))),
  opens('ipv4-halves', from(...blocks('0.0.0.0/1', '128.0.0.0/1'))),
  opens('ipv4-quarters', to(...blocks(...FOUR_QUARTERS))),
  opens('ipv4-uneven', from(...blocks('128.0.0.0/1', '0.0.0.0/2', '64.0.0.0/3', '96.0.0.0/3'))),
  opens('ipv4-halves-twice', from(...blocks('0.0.0.0/1', '0.0.0.0/1', '0.0.0.0/1', '128.0.0.0/1'))),
  opens('ipv4-halves-nested', from(...blocks('0.0.0.0/1', '0.0.0.0/2', '10.0.0.0/8', '128.0.0.0/1'))),
  opens('ipv4-in-256', from(...blocks(...Array.from({ length: 256 }, (_, first) => `${first}.0.0.0/8`)))),
  opens('ipv6-halves', from(...blocks('::/1', '8000::/1'))),

  narrow('deny', { policyTypes: ['Ingress', 'Egress'] }),
  narrow('no-rules', { ingress: [], egress: [] }),
  narrow('same-namespace', from({ podSelector: {} })),
  narrow('labelled-namespaces', from({ namespaceSelector: { matchLabels: { team: 'web' } } })),
  narrow(
    'labelled-namespaces-all-pods',
    from({ namespaceSelector: { matchLabels: { team: 'web' } }, podSelector: {} }),
  ),
  narrow('other-namespaces', from({ namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'Exists' }] } })),
  narrow('labelled-pods', from({ namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } })),
  narrow(
    'pods-by-expression',
    to({ namespaceSelector: {}, podSelector: { matchExpressions: [{ key: 'app', operator: 'Exists' }] } }),
  ),
  narrow('ipv4-range', from(...blocks('10.0.0.0/8'))),
  narrow('ipv4-address', to(...blocks('203.0.113.7/32'))),
  narrow('ipv4-half', from(...blocks('0.0.0.0/1'))),
  narrow('ipv4-half-twice', from(...blocks('0.0.0.0/1', '0.0.0.0/1'))),
  narrow('ipv4-three-quarters', from(...blocks('128.0.0.0/1', '0.0.0.0/2'))),
  narrow('ipv4-half-and-its-parts', from(...blocks('0.0.0.0/1', '0.0.0.0/2', '64.0.0.0/2'))),
  narrow('ipv4-all-but-one-256th', from(...blocks(...Array.from({ length: 255 }, (_, first) => `${first}.0.0.0/8`)))),
  narrow('ipv4-with-excepts', to({ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } })),
  narrow('ipv6-with-excepts', to({ ipBlock: { cidr: '::/0', except: ['fc00::/7'] } })),
  narrow('ipv6-range', from(...blocks('2001:db8::/32'))),
  narrow('ipv6-half', from(...blocks('8000::/1'))),
  narrow('ipv6-global', to(...blocks('2000::/3'))),
  narrow('ipv6-address', from(...blocks('2001:db8::7/128'))),
  narrow('halves-of-both', from(...blocks('0.0.0.0/1', '8000::/1'))),
  narrow('halves-of-two-rules', {
    ingress: [{ from: blocks('0.0.0.0/1') }, { from: blocks('128.0.0.0/1') }],
  }),
  narrow('ingress-without-effect', { policyTypes: ['Egress'], ingress: [{}] }),
  narrow('egress-without-effect', { policyTypes: ['Ingress'], egress: [{}] }),
];
