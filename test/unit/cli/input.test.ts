import assert from 'node:assert/strict';
import { join } from 'node:path';
import { API_VERSION, KIND } from '../../../src/api/baselinepolicy.ts';
import { InputError } from '../../../src/cli/errors.ts';
import { readFiles } from '../../../src/cli/input/files.ts';
import type { ObjectSet } from '../../../src/cli/input/objects.ts';
import { Folder } from '../../support/cli.ts';
import { INVALID, VALID } from '../../support/crd-manifests.ts';

async function read(text: string, namespace = 'default'): Promise<ObjectSet> {
  const stdin = (async function* () {
    yield await Promise.resolve(text);
  })();
  return readFiles({ filenames: ['-'], recursive: false, namespace, stdin });
}

async function problemsOf(text: string): Promise<readonly string[]> {
  try {
    await read(text);
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
    return error.problems;
  }
  return [];
}

function policyWith(spec: string): string {
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one, namespace: shop}
spec:
${spec.replaceAll(/^/gm, '  ')}
`;
}

function baselineWith(spec: string): string {
  return `apiVersion: baselinepolicy.dev/v1alpha1
kind: BaselinePolicy
metadata: {name: base}
spec:
${spec.replaceAll(/^/gm, '  ')}
`;
}

const POD = 'apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\n';

describe('Input of kubectl-baseline', () => {
  it('reads documents, Lists, lists of a kind, JSON, and skips other kinds and empty documents', async () => {
    const list = {
      apiVersion: 'v1',
      kind: 'List',
      items: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } }],
    };
    const pods = { apiVersion: 'v1', kind: 'PodList', items: [{ metadata: { name: 'b', namespace: 'shop' } }] };
    const text = [JSON.stringify(list), '', JSON.stringify(pods), 'apiVersion: v1\nkind: Secret\ndata: 5', '# nothing'];
    const { pods: read1 } = await read(text.join('\n---\n'), 'own');
    assert.deepEqual(
      read1.map(({ kind, metadata }) => `${kind ?? ''} ${metadata.namespace ?? ''}/${metadata.name}`),
      ['Pod own/a', 'Pod shop/b'],
    );
    assert.equal((await read(JSON.stringify(list))).pods.length, 1);
    assert.equal((await read(JSON.stringify({ ...list, items: null }))).pods.length, 0);
  });

  it('reads folders: files of three endings, of folders in them only with --recursive', async () => {
    const named = (name: string): string => POD.replace('web', name);
    using folder = new Folder({
      'a.yaml': named('a'),
      'b.yml': named('b'),
      'c.json': JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'c' } }),
      'd.txt': 'no: [yaml',
      'in/e.yaml': named('e'),
    });
    const names = async (recursive: boolean): Promise<string[]> => {
      const stdin = (async function* () {
        yield await Promise.resolve('');
      })();
      const set = await readFiles({ filenames: [folder.path], recursive, namespace: 'default', stdin });
      return set.pods.map(({ metadata }) => metadata.name);
    };
    assert.deepEqual(await names(false), ['a', 'b', 'c']);
    assert.deepEqual(await names(true), ['a', 'b', 'c', 'e']);
  });

  it('names policies that are not modelled', async () => {
    const foreign = [
      ['policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy'],
      ['policy.networking.k8s.io/v1alpha1', 'BaselineAdminNetworkPolicy'],
      ['policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy'],
      ['cilium.io/v2', 'CiliumNetworkPolicy'],
      ['cilium.io/v2', 'CiliumClusterwideNetworkPolicy'],
      ['projectcalico.org/v3', 'NetworkPolicy'],
      ['crd.projectcalico.org/v1', 'GlobalNetworkPolicy'],
    ];
    const text = foreign.map(
      ([version = '', kind = '']) => `apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: x}\n`,
    );
    const { notModelled, networkPolicies } = await read(text.join('---\n'));
    assert.deepEqual(
      notModelled,
      foreign.map(([, kind = '']) => `${kind} x (standard input)`),
    );
    assert.deepEqual(networkPolicies, []);
    const settings = await read('apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: x}\n');
    assert.deepEqual(settings.notModelled, []);
  });

  it('takes null for an absent field, as the API server does', async () => {
    const { networkPolicies } = await read(policyWith('podSelector:\ningress:\n- from:\n  ports: null'));
    assert.deepEqual(networkPolicies[0]?.spec, { ingress: [{}] });
  });

  it('tells the file, the document, the line and the field of all that is wrong, and goes on', async () => {
    const text = [
      policyWith('podSelector: {}\ningress:\n- form: []'),
      POD.replace('web', '[web'),
      policyWith('podSelector: {matchLabels: {app: yes}}').replace('one', 'two'),
      baselineWith('mode: Dry'),
    ].join('---\n');
    const problems = await problemsOf(text);
    assert.equal(problems.length, 4, problems.join('\n'));
    assert.match(problems[0] ?? '', /^standard input, document 2, line \d+: /);
    assert.deepEqual(problems.slice(1), [
      'standard input, document 1, line 7: spec.ingress[0].form: unknown field; expected one of from, ports',
      'standard input, document 3, line 17: spec.podSelector.matchLabels.app: expected a string, found true',
      'standard input, document 4, line 23: spec.mode: expected Enforce or Audit, found "Dry"',
    ]);
  });

  const wrong: readonly (readonly [what: string, text: string, expected: RegExp])[] = [
    ['an object without a kind', 'apiVersion: v1\n', /kind: expected a name, found none$/],
    ['a document that is no object', '- a\n', /: expected an object with apiVersion and kind$/],
    [
      'an old version',
      'apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}',
      /apiVersion: expected networking.k8s.io\/v1 for a NetworkPolicy, found extensions\/v1beta1$/,
    ],
    [
      'a misspelt namespace',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: x, namepsace: y}',
      /metadata.namepsace: unknown field/,
    ],
    ['no name', 'apiVersion: v1\nkind: Pod\nmetadata: {}', /metadata.name: expected a name, found none$/],
    [
      'a number as a label',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {version: 1.0}}',
      /line 3: metadata.labels.version: expected a string, found 1$/,
    ],
    [
      'a key that comes twice',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nmetadata: {name: y}',
      /line 4: Map keys must be unique/,
    ],
    [
      'an object that comes twice',
      `${POD}---\n${POD}`,
      /document 2, line 7: metadata.name: expected one Pod shop\/web, found another at standard input, document 1, line 3$/,
    ],
    [
      'an empty peer in a list',
      policyWith('podSelector: {}\ningress:\n- from:\n  -'),
      /spec.ingress\[0\].from\[0\]: expected a map, found nothing$/,
    ],
    [
      'an unknown field of a spec',
      policyWith('podselector: {}'),
      /line 5: spec.podselector: unknown field; expected one of podSelector, policyTypes, ingress, egress$/,
    ],
    [
      'a misspelt policy type',
      policyWith('policyTypes: [ingress]'),
      /spec.policyTypes\[0\]: expected Ingress or Egress, found "ingress"$/,
    ],
    [
      'a port as text',
      policyWith('ingress:\n- ports: [{port: "80"}]'),
      /spec.ingress\[0\].ports\[0\].port: expected what matches/,
    ],
    [
      'a port that is none',
      policyWith('ingress:\n- ports: [{port: 70000}]'),
      /port: expected a number from 1 to 65535, found 70000$/,
    ],
    [
      'an end before its port',
      policyWith('ingress:\n- ports: [{port: 80, endPort: 70}]'),
      /endPort: expected 80 or more, found 70$/,
    ],
    [
      'an end without a port',
      policyWith('ingress:\n- ports: [{endPort: 70}]'),
      /endPort: expected a port number beside it, found none$/,
    ],
    [
      'a selector without values',
      policyWith('podSelector: {matchExpressions: [{key: a, operator: In}]}'),
      /matchExpressions\[0\].values: expected at least one value for the operator In, found 0$/,
    ],
    [
      'a block beside a selector',
      policyWith('ingress:\n- from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]'),
      /from\[0\].ipBlock: expected ipBlock alone, found selectors beside it$/,
    ],
    [
      'a block that is none',
      policyWith('egress:\n- to: [{ipBlock: {cidr: 10.0.0/8}}]'),
      /ipBlock.cidr: expected a CIDR, found "10.0.0\/8"$/,
    ],
    [
      'an exception outside',
      policyWith('egress:\n- to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]'),
      /except\[0\]: expected a CIDR inside 10.0.0.0\/8 and smaller, found 11.0.0.0\/16$/,
    ],
    [
      'hostNetwork as text',
      `${POD}spec: {hostNetwork: "true"}`,
      /spec.hostNetwork: expected true or false, found "true"$/,
    ],
    [
      'a controller without a template',
      'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}',
      /spec.template: expected a value, found none$/,
    ],
    [
      'a baseline with an unknown rule',
      baselineWith('rules: {allowDns: {}}'),
      /spec.rules.allowDns: unknown field; expected one of defaultDeny, allowDNS/,
    ],
    [
      'a baseline with an empty from',
      baselineWith('rules: {allowIngressController: {enabled: true}}'),
      /allowIngressController.from: from needs at least one peer when the rule is enabled; /,
    ],
    [
      'a baseline without DNS targets',
      baselineWith('rules: {allowDNS: {targets: []}}'),
      /allowDNS.targets: targets or custom needs at least one item/,
    ],
    [
      'a baseline with a DNS target twice',
      baselineWith('rules: {allowDNS: {targets: [KubeDNS, KubeDNS]}}'),
      /allowDNS.targets: must name each target at most once$/,
    ],
    [
      'a baseline with a label key whose prefix is too long',
      baselineWith(`namespaceSelector: {matchLabels: {${'a'.repeat(254)}/b: c}}`),
      /namespaceSelector.matchLabels: each key must be a label key: .* at most 253 characters/,
    ],
    [
      'a baseline that takes a name of a rule',
      baselineWith('additionalPolicies: [{name: allow-dns, spec: {}}]'),
      /additionalPolicies\[0\].name: must not be the name of the child of a rule: .*, found "allow-dns"$/,
    ],
    [
      'a baseline with a policy twice',
      baselineWith('additionalPolicies: [{name: a, spec: {}}, {name: a, spec: {}}]'),
      /additionalPolicies\[1\].name: expected another name than the items before$/,
    ],
    [
      'a baseline with rules without their type',
      baselineWith('additionalPolicies: [{name: a, spec: {policyTypes: [Ingress], egress: [{}]}}]'),
      /additionalPolicies\[0\].spec.egress: egress rules never take effect/,
    ],
    [
      'a baseline with a dot in its name',
      baselineWith('mode: Audit').replace('name: base', 'name: a.b'),
      /line 3: metadata.name: must be a DNS label: .* and no dot$/,
    ],
    [
      'a baseline with a variable that is none',
      baselineWith('additionalPolicies: [{name: a, spec: {podSelector: {matchLabels: {a: $(pod.name)}}}}]'),
      /matchLabels.a: expected what matches/,
    ],
  ];
  for (const [what, text, expected] of wrong) {
    it(`refuses ${what}`, async () => {
      const problems = await problemsOf(text);
      assert.equal(problems.length, 1, problems.join('\n'));
      assert.match(problems[0] ?? '', expected);
    });
  }

  it('accepts what the API server accepts', async () => {
    const right = [
      policyWith('podSelector: {}'),
      policyWith('policyTypes: []'),
      policyWith('policyTypes: [Ingress]\negress: [{}]'),
      policyWith(
        'ingress:\n- from: [{namespaceSelector: {}}]\n  ports: [{port: http}, {port: 1, endPort: 65535, protocol: SCTP}]',
      ),
      policyWith('egress:\n- to: [{ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:1::/48"]}}]'),
      baselineWith('{}'),
      baselineWith(
        'additionalPolicies: [{name: a, spec: {podSelector: {matchLabels: {team: "$(namespace.labels[\'team\'])"}}}}]',
      ),
    ];
    for (const text of right) assert.deepEqual(await problemsOf(text), [], text);
  });

  it('accepts the samples', async () => {
    const stdin = (async function* () {
      yield await Promise.resolve('');
    })();
    const samples = join(import.meta.dirname, '../../../config/samples');
    const set = await readFiles({ filenames: [samples], recursive: true, namespace: 'default', stdin });
    assert.ok(set.baselinePolicies.length > 0 && set.namespaces.length > 0);
  });

  describe('for a BaselinePolicy, as the API server does,', () => {
    const manifest = (name: string | undefined, spec: unknown): string =>
      JSON.stringify({ apiVersion: API_VERSION, kind: KIND, metadata: { name }, spec });

    for (const { title, name = 'valid', spec } of VALID) {
      it(`accepts ${title}`, async () => {
        assert.deepEqual(await problemsOf(manifest(name, spec)), []);
      });
    }

    for (const { title, name = 'invalid', spec, field } of INVALID) {
      it(`refuses ${title}`, async () => {
        const problems = await problemsOf(manifest(name, spec));
        assert.equal(problems.length, 1, problems.join('\n'));
        assert.ok(problems[0]?.includes(`: ${field}`), problems[0]);
      });
    }

    it('makes a name of generateName first', async () => {
      const generated = (generateName: string): Promise<readonly string[]> =>
        problemsOf(JSON.stringify({ apiVersion: API_VERSION, kind: KIND, metadata: { generateName }, spec: {} }));
      assert.deepEqual(await generated('base-'), []);
      assert.match((await generated('base.')).join(), /metadata.name: must be a DNS label: /);
    });
  });

  it('names the files that are not there', async () => {
    const stdin = (async function* () {
      yield await Promise.resolve('');
    })();
    await assert.rejects(
      readFiles({ filenames: ['/none/a.yaml', '/none/b'], recursive: false, namespace: 'default', stdin }),
      (error) =>
        error instanceof InputError &&
        error.problems.join() ===
          '--filename: expected a file or folder at /none/a.yaml: there is none,' +
            '--filename: expected a file or folder at /none/b: there is none',
    );
  });
});
