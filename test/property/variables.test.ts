import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { NetworkPolicySpec } from '../../src/api/networkpolicy.ts';
import { expandVariables } from '../../src/policy/variables.ts';
import { labelKey, namespaces } from '../support/arbitraries.ts';
import { frozen } from '../support/fixtures.ts';

type Piece = { readonly text: string } | { readonly variable: 'name' } | { readonly label: string };

const piece: fc.Arbitrary<Piece> = fc.oneof(
  fc.constantFrom('', 'a', '-', '.', '$', '(', ')', '$$', "['x']", 'namespace.name').map((text) => ({ text })),
  fc.constant({ variable: 'name' as const }),
  labelKey.map((label) => ({ label })),
);

/** A text in pieces; a "$" never comes before a "(" but in a variable. */
const pieces = fc
  .array(piece, { maxLength: 6 })
  .filter((list) => !/\$\((?!namespace\.(name|labels\['[^']+'\])\))/.test(written(list)));

function written(list: readonly Piece[]): string {
  return list
    .map((item) => {
      if ('text' in item) return item.text;
      return 'label' in item ? `$(namespace.labels['${item.label}'])` : '$(namespace.name)';
    })
    .join('');
}

/** The text in every place of a spec where a variable may be. */
function everywhere(text: string): NetworkPolicySpec {
  const selector = {
    matchLabels: { app: text },
    matchExpressions: [{ key: 'app', operator: 'In' as const, values: [text] }],
  };
  const peers = [{ podSelector: selector, namespaceSelector: selector }, { ipBlock: { cidr: text, except: [text] } }];
  return frozen({
    podSelector: selector,
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: peers, ports: [{ port: text }, { port: 80, endPort: 90 }] }],
    egress: [{ to: peers, ports: [{ protocol: 'UDP', port: text }] }],
  });
}

describe('expandVariables, for any text and namespace', () => {
  it('puts the values in every place, or says which label is missing', () => {
    fc.assert(
      fc.property(pieces, namespaces, (list, namespace) => {
        const keys = list.flatMap((item) => ('label' in item ? [item.label] : []));
        const missing = keys.find((key) => !Object.hasOwn(namespace.labels, key));
        const expansion = expandVariables(everywhere(written(list)), namespace);
        if (missing !== undefined) {
          assert.deepEqual(expansion, { failure: { kind: 'missing-label', key: missing } });
          return;
        }
        const expected = list.map((item) => {
          if ('text' in item) return item.text;
          return 'label' in item ? (namespace.labels[item.label] ?? '') : namespace.name;
        });
        assert.deepEqual(expansion, { spec: everywhere(expected.join('')) });
      }),
    );
  });

  it('never leaves a variable, of a known form or not', () => {
    const anything = fc.array(
      fc.oneof(
        piece.map((item) => written([item])),
        fc.constantFrom('$(', '$(x)', '$(namespace.'),
      ),
    );
    fc.assert(
      fc.property(anything, namespaces, (texts, namespace) => {
        const selecting = { podSelector: { matchLabels: { app: texts.join('') } } };
        const expansion = expandVariables(frozen(selecting), namespace);
        if (!('spec' in expansion)) return;
        assert.doesNotMatch(expansion.spec.podSelector?.matchLabels?.['app'] ?? '', /\$\([^)]*\)/);
      }),
    );
  });
});
