import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import type { Connection } from '../../../src/analysis/connections.ts';
import type { NetworkPolicy } from '../../../src/api/networkpolicy.ts';
import { CLUSTER_FLAGS } from '../../../src/cli/input/cluster-flags.ts';
import { COMMANDS } from '../../../src/cli/program.ts';
import { VERSION } from '../../../src/version.ts';
import { Folder, runCLI, spawnCLI, type CLIOptions, type CLIResult } from '../../support/cli.ts';
import { SHOP, SHOP_BASELINE } from '../../support/shop.ts';

/** Runs a command on the shop, from standard input; more documents may follow it. */
async function onShop(line: string, more = '', options: CLIOptions = {}): Promise<CLIResult> {
  return runCLI([...line.split(' '), '-f', '-'], { ...options, stdin: more === '' ? SHOP : `${SHOP}---${more}` });
}

/** Runs a command that must leave nothing on stderr. */
async function outputOf(line: string, more = '', options: CLIOptions = {}): Promise<string> {
  const { stdout, stderr } = await onShop(line, more, options);
  assert.equal(stderr, '');
  return stdout;
}

async function connectionsOf(more = '', flags = ''): Promise<Connection[]> {
  return JSON.parse(await outputOf(`connections -o json${flags}`, more)) as Connection[];
}

function inside(list: readonly Connection[]): string[] {
  return list
    .filter(({ src, dst }) => src.includes('[') && dst.includes('['))
    .map(({ src, dst, connections }) => `${src} ${dst} ${JSON.stringify(connections)}`);
}

describe('output for programs', () => {
  for (const line of [
    'can shop/backend shop/db --port 5432',
    'explain shop/frontend shop/db --port 5432',
    'connections',
    'matrix --port 5432',
    'exposure',
    'lint',
    'impact',
    'status',
  ]) {
    it(`of ${line} is the same as JSON and as YAML`, async () => {
      const { stdout: json } = await onShop(`${line} -o json`, SHOP_BASELINE);
      const { stdout: yaml } = await onShop(`${line} -o yaml`, SHOP_BASELINE);
      assert.deepEqual(parse(yaml), JSON.parse(json));
      assert.ok(!yaml.startsWith('{') && !yaml.startsWith('[{'), yaml.slice(0, 80));
    });
  }

  it('of nothing is an empty list', async () => {
    const empty = { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n' };
    for (const line of ['connections -f - -o yaml', 'exposure -f - -o yaml']) {
      assert.deepEqual(parse((await runCLI(line.split(' '), empty)).stdout), []);
    }
  });
});

describe('can', () => {
  const cases: readonly (readonly [line: string, code: number, first: RegExp])[] = [
    ['can shop/db shop/frontend', 0, /^allow: shop\/db\[StatefulSet\] to shop\/frontend\[Deployment\], all ports$/m],
    ['can shop/backend shop/db --port 5432', 0, /^allow: .*, 5432\/TCP$/m],
    ['can shop/backend shop/db --port 5432/UDP', 1, /^deny: .*, 5432\/UDP$/m],
    ['can shop/backend shop/db --port 5432,5433', 1, /^depends: .*, 5432-5433\/TCP$/m],
    ['can shop/deployment/frontend shop/sts/db -p 5432', 1, /^deny: /],
    ['can monitoring/prometheus shop/frontend', 0, /^allow: monitoring\/prometheus\[Pod\] /],
    ['can backend db -n shop -p 5432', 0, /^allow: /],
    ['can internet shop/frontend -p 8080', 0, /^allow: internet to /],
    ['can internet shop/db -p 5432', 1, /^deny: /],
    ['can shop/db 203.0.113.7 -p 443', 0, /^allow: .* to 203.0.113.7, 443\/TCP$/m],
    ['can shop/db 2001:db8::1 -p 443', 0, /^allow: /],
  ];
  for (const [line, code, first] of cases) {
    it(`answers ${line}`, async () => {
      const result = await onShop(line);
      assert.equal(result.stderr, '');
      assert.match(result.stdout, first);
      assert.equal(result.code, code);
    });
  }

  it('asks for every pair of the ends that label selectors match, and is 0 only when all are allowed', async () => {
    const select = async (selector: string): Promise<[number | null, string[]]> => {
      const { code, stdout } = await runCLI(['can', selector, 'shop/db', '-p', '5432', '-f', '-'], { stdin: SHOP });
      return [
        code,
        stdout
          .trimEnd()
          .split('\n')
          .map((line) => line.split(' to ')[0] ?? ''),
      ];
    };
    const backend = 'allow: shop/backend[Deployment]';
    const frontend = 'deny: shop/frontend[Deployment]';
    assert.deepEqual(await select('shop:app=backend'), [0, [backend]]);
    assert.deepEqual(await select('shop:app in (backend,web)'), [1, [backend, frontend]]);
    assert.deepEqual(await select('shop:app!=db'), [1, [backend, frontend]]);
    assert.deepEqual(await select('shop:app,app notin (db)'), [1, [backend, frontend]]);
    assert.deepEqual(await select('monitoring:!tier'), [1, ['deny: monitoring/prometheus[Pod]']]);
  });

  it('knows pods by the names of pods and by their addresses', async () => {
    const pods = `
apiVersion: v1
kind: Pod
metadata:
  {name: db-0, namespace: shop, labels: {app: db}, ownerReferences: [{kind: StatefulSet, name: db, controller: true}]}
status: {podIPs: [{ip: 10.1.2.3}]}
`;
    for (const end of ['shop/db-0', 'shop/pod/db-0', '10.1.2.3']) {
      const { stdout, code } = await onShop(`can shop/backend ${end} -p 5432`, pods);
      assert.match(stdout, /^allow: shop\/backend\[Deployment\] to shop\/db\[StatefulSet\], /);
      assert.equal(code, 0);
    }
  });

  it('leaves to the profile of the network plugin what the API leaves open', async () => {
    const block = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}
`;
    const verdict = async (profile: string): Promise<string> => {
      const { stdout } = await onShop(`can shop/frontend monitoring/prometheus --cni-profile ${profile}`, block);
      return stdout.split(':')[0] ?? '';
    };
    assert.deepEqual(await Promise.all(['calico', 'cilium', 'generic'].map(verdict)), ['allow', 'deny', 'depends']);
  });

  it('says the same as JSON', async () => {
    const { stdout, code } = await onShop('can shop/backend shop/db -p 5432 -o json');
    assert.equal(code, 0);
    const [first] = JSON.parse(stdout) as Record<string, unknown>[];
    assert.equal(first?.['verdict'], 'allow');
    assert.deepEqual(first['ports'], [{ protocol: 'TCP', port: 5432 }]);
  });
});

describe('explain', () => {
  it('says which rule nearly matched, and the change that would allow it', async () => {
    const { stdout, code } = await onShop('explain shop/frontend shop/backend -p 9090');
    assert.equal(code, 1);
    assert.equal(
      stdout,
      `deny: shop/frontend[Deployment] to shop/backend[Deployment], 9090/TCP

Egress of shop/frontend[Deployment]: allowed
  no policy isolates the egress of shop/frontend[Deployment]: all of it is allowed

Ingress of shop/backend[Deployment]: denied
  one policy isolates the ingress of shop/backend[Deployment]; of 9090/TCP, no rule matches
  - shop/backend selects shop/backend[Deployment] (app=backend) and isolates its ingress; none of its rules (1) allows this traffic
      no  shop/backend spec.ingress[0].from[0] selects app=frontend, but shop/frontend[Deployment] has app=web

Nearly matched
  shop/backend spec.ingress[0].from[0] selects app=frontend, but shop/frontend[Deployment] has app=web

To allow it
  on the pods of shop/frontend[Deployment], set the label app=frontend
`,
    );
  });

  it('is 0 for what is allowed, and says what would deny it', async () => {
    const { stdout, code } = await onShop('explain shop/backend shop/db -p 5432');
    assert.equal(code, 0);
    assert.match(stdout, /yes shop\/db spec.ingress\[0\] allows 5432\/TCP/);
    assert.match(stdout, /^To deny it$/m);
    assert.doesNotMatch(stdout, /Nearly matched/);
  });

  it('gives the whole explanation as JSON', async () => {
    const { stdout } = await onShop('explain shop/frontend shop/backend -p 9090 -o json');
    const [first] = JSON.parse(stdout) as { change: { kind: string; set: unknown }[]; decision: unknown }[];
    assert.deepEqual(first?.decision, { verdict: 'deny', reasons: [], allowed: [], possible: [] });
    assert.deepEqual(
      first.change.map(({ kind, set }) => ({ kind, set })),
      [{ kind: 'LabelPods', set: { app: 'frontend' } }],
    );
  });
});

describe('connections', () => {
  it('lists every allowed pair, with the outside', async () => {
    const list = await connectionsOf();
    const tcp = (port: number): string => JSON.stringify([{ protocol: 'TCP', port }]);
    const [backend, db, frontend] = ['shop/backend[Deployment]', 'shop/db[StatefulSet]', 'shop/frontend[Deployment]'];
    assert.deepEqual(inside(list), [
      `monitoring/prometheus[Pod] ${frontend} "all"`,
      `${backend} monitoring/prometheus[Pod] "all"`,
      `${backend} ${db} ${tcp(5432)}`,
      `${backend} ${frontend} "all"`,
      `${db} monitoring/prometheus[Pod] "all"`,
      `${db} ${frontend} "all"`,
      `${frontend} monitoring/prometheus[Pod] "all"`,
    ]);
    const outside = '0.0.0.0-255.255.255.255';
    assert.deepEqual(
      list.filter(({ src, dst }) => src === outside || dst === outside).map(({ src, dst }) => `${src} ${dst}`),
      [
        `monitoring/prometheus[Pod] ${outside}`,
        `${backend} ${outside}`,
        `${db} ${outside}`,
        `${frontend} ${outside}`,
        `${outside} monitoring/prometheus[Pod]`,
        `${outside} ${frontend}`,
      ],
    );
  });

  it('takes the children of BaselinePolicies for those of the operator', async () => {
    const rendered = await outputOf('render', SHOP_BASELINE);
    assert.deepEqual(await connectionsOf(SHOP_BASELINE), await connectionsOf(`\n${rendered.replace(/^---\n/, '')}`));
    const ends = inside(await connectionsOf(SHOP_BASELINE)).map((pair) => pair.split(' ').slice(0, 2).join(' '));
    assert.ok(ends.includes('monitoring/prometheus[Pod] shop/frontend[Deployment]'));
    assert.ok(!ends.includes('shop/db[StatefulSet] shop/frontend[Deployment]'));
  });

  it('leaves out children in mode Audit, and says so', async () => {
    const audit = `${SHOP_BASELINE}  mode: Audit\n`;
    const { stdout, stderr } = await onShop('connections -o json', audit);
    assert.deepEqual(JSON.parse(stdout), await connectionsOf());
    assert.equal(stderr, 'warning: BaselinePolicy base is in mode Audit: its NetworkPolicies take no part\n');
  });

  it("leaves in its place what has the name of a child and is not the operator's", async () => {
    const foreign = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: base.allow-monitoring, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
`;
    const { stdout, stderr } = await onShop('connections -o json', `${foreign}---${SHOP_BASELINE}`);
    assert.equal(
      stderr,
      "warning: BaselinePolicy base: NetworkPolicy shop/base.allow-monitoring is not the operator's, and keeps its place\n",
    );
    const ends = inside(JSON.parse(stdout) as Connection[]).map((pair) => pair.split(' ')[0]);
    assert.ok(!ends.includes('monitoring/prometheus[Pod]'));
  });

  it('reports on one namespace, with what it connects to', async () => {
    const rows = (await outputOf('connections -n monitoring')).trimEnd().split('\n').slice(1);
    assert.equal(rows.length, 6);
    for (const row of rows) assert.match(row, /monitoring\/prometheus\[Pod\]/);
  });

  it('leaves out the host network, unless it is taken for pods', async () => {
    const host = '\napiVersion: v1\nkind: Pod\nmetadata: {name: agent, namespace: shop}\nspec: {hostNetwork: true}\n';
    assert.doesNotMatch(JSON.stringify(await connectionsOf(host)), /agent/);
    assert.match(JSON.stringify(await connectionsOf(host, ' --host-network=as-pods')), /agent/);
  });

  it('matches pods by ipBlocks only when it is told to', async () => {
    const block = `
apiVersion: v1
kind: Pod
metadata: {name: cache, namespace: shop, labels: {app: cache}}
status: {podIPs: [{ip: 10.0.0.9}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}
`;
    const reaches = (list: readonly Connection[]): boolean =>
      list.some(({ src, dst }) => src === 'shop/frontend[Deployment]' && dst === 'shop/cache[Pod]');
    assert.equal(reaches(await connectionsOf(block)), false);
    assert.equal(reaches(await connectionsOf(block, ' --ip-block-matches-pods')), true);
  });

  it('writes tables and graphs', async () => {
    const pair = ['shop/backend[Deployment]', 'shop/db[StatefulSet]'];
    assert.match(await outputOf('connections'), /^shop\/backend\[Deployment\] +shop\/db\[StatefulSet\] +5432\/TCP$/m);
    assert.ok((await outputOf('connections -o csv')).split('\n').includes(`${pair.join(',')},5432/TCP`));
    assert.ok((await outputOf('connections -o md')).split('\n').includes(`| ${pair.join(' | ')} | 5432/TCP |`));
    const dot = await outputOf('connections -o dot');
    assert.match(dot, /^digraph connections \{$/m);
    assert.ok(dot.split('\n').includes(`  "${pair.join('" -> "')}" [label="5432/TCP"];`), dot);
    const mermaid = await outputOf('connections -o mermaid');
    const [, backend = '', db = ''] = pair
      .map((name) => `(n\\d+)\\["${name.replace(/^shop\//, '').replace(/[[\]]/g, '\\$&')}"\\]`)
      .map((pattern) => new RegExp(pattern).exec(mermaid)?.[1] ?? '')
      .reduce<string[]>((found, id) => [...found, id], ['']);
    assert.ok(mermaid.split('\n').includes(`  ${backend} -->|"5432/TCP"| ${db}`), mermaid);
  });

  it('draws a graph', async () => {
    const svg = await outputOf('connections -o svg');
    assert.match(svg, /^<\?xml .*<svg .*<\/svg>\s*$/s);
    const drawn = [...svg.matchAll(/<title>(.*?)<\/title>/g)].map(([, title]) => title);
    assert.ok(drawn.includes('shop/backend[Deployment]&#45;&gt;shop/db[StatefulSet]'), drawn.join('\n'));
    assert.match(svg, />5432\/TCP</);
  });

  it('says when nothing is allowed, and gives an empty list as JSON', async () => {
    const empty = { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n' };
    assert.equal((await runCLI(['connections', '-f', '-'], empty)).stdout, 'No connection is allowed.\n');
    assert.deepEqual(JSON.parse((await runCLI(['connections', '-f', '-', '-o', 'json'], empty)).stdout), []);
  });

  it('reports what is not modelled on stderr', async () => {
    const cilium = '\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x, namespace: shop}\n';
    const { stderr } = await onShop('connections', cilium);
    assert.equal(
      stderr,
      'warning: not modelled: CiliumNetworkPolicy shop/x (standard input); it may allow or deny more than is said here\n',
    );
  });
});

describe('matrix', () => {
  it('shows sources as rows, and columns by their numbers', async () => {
    assert.equal(
      await outputOf('matrix -n shop'),
      `   SOURCE \\ DESTINATION       1  2         3
1  shop/backend[Deployment]   .  5432/TCP  all
2  shop/db[StatefulSet]       -  .         all
3  shop/frontend[Deployment]  -  -         .
`,
    );
  });

  it('shows one port', async () => {
    assert.equal(
      await outputOf('matrix -n shop --port 5432 -o csv'),
      `source,shop/backend[Deployment],shop/db[StatefulSet],shop/frontend[Deployment]
shop/backend[Deployment],.,yes,yes
shop/db[StatefulSet],-,.,yes
shop/frontend[Deployment],-,-,.
`,
    );
    assert.match(await outputOf('matrix -n shop -o md'), /^\| shop\/db\[StatefulSet\] \| - \| \. \| all \|$/m);
    const rows = JSON.parse(await outputOf('matrix -n shop -o json')) as { source: string; destinations: object }[];
    assert.deepEqual(rows[0], {
      source: 'shop/backend[Deployment]',
      destinations: {
        'shop/backend[Deployment]': 'self',
        'shop/db[StatefulSet]': 'some',
        'shop/frontend[Deployment]': 'all',
      },
    });
  });

  it('has colours on a terminal only, and none with NO_COLOR', async () => {
    const hasColours = async (options: CLIOptions): Promise<boolean> =>
      (await outputOf('matrix', '', options)).includes('\u001b[');
    assert.equal(await hasColours({ isTTY: true }), true);
    assert.equal(await hasColours({ isTTY: false }), false);
    assert.equal(await hasColours({ isTTY: true, env: { NO_COLOR: '1' } }), false);
  });
});

describe('exposure', () => {
  it('says in which direction a workload is isolated, and to whom it is open', async () => {
    const text = await outputOf('exposure -n shop', SHOP_BASELINE);
    assert.equal(
      text.slice(0, text.indexOf('shop/frontend')),
      `shop/backend[Deployment]
  ingress: isolated, open
    from pods with app=frontend in namespaces with kubernetes.io/metadata.name=shop: 9090/TCP
    from all pods in namespaces with kubernetes.io/metadata.name=monitoring: all ports
  egress: not isolated, it may connect to everyone on all ports
shop/db[StatefulSet]
  ingress: isolated, open
    from all pods in namespaces with kubernetes.io/metadata.name=monitoring: all ports
    from pods with app=backend in namespaces with kubernetes.io/metadata.name=shop: 5432/TCP
  egress: not isolated, it may connect to everyone on all ports
`,
    );
    const list = JSON.parse(await outputOf('exposure -o json')) as {
      workload: string;
      ingress: { isIsolated: boolean };
    }[];
    assert.deepEqual(
      list.filter(({ ingress }) => ingress.isIsolated).map(({ workload }) => workload),
      ['shop/backend[Deployment]', 'shop/db[StatefulSet]'],
    );
  });

  it('names the whole cluster, the internet, and ports by their names', async () => {
    const open = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress: [{}]
  egress: [{to: [{podSelector: {}}], ports: [{port: api}]}]
`;
    const text = await outputOf('exposure', open);
    const frontend = text.slice(text.indexOf('shop/frontend'));
    assert.match(frontend, /^ {4}from the whole cluster: all ports$/m);
    assert.match(frontend, /^ {4}from the internet: all ports$/m);
    assert.match(frontend, /^ {4}to all pods in namespaces with kubernetes.io\/metadata.name=shop: port api\/TCP$/m);
  });

  it('tells addresses of IPv6 from the ports after them', async () => {
    const out = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: "::/128"}}, {ipBlock: {cidr: "fd00::/120"}}, {ipBlock: {cidr: 10.0.0.0/30}}, {ipBlock: {cidr: 10.1.0.9/32}}]
    ports: [{port: 443}]
`;
    const text = await outputOf('exposure', out);
    assert.deepEqual(
      text.split('\n').filter((line) => line.includes('443/TCP')),
      [
        '    to 10.0.0.0-10.0.0.3: 443/TCP',
        '    to 10.1.0.9: 443/TCP',
        '    to [::]: 443/TCP',
        '    to [fd00::]-[fd00::ff]: 443/TCP',
      ],
    );
  });
});

describe('render', () => {
  const twice = `${SHOP_BASELINE}---
apiVersion: v1
kind: Namespace
metadata: {name: bank, labels: {baselinepolicy.dev/enforce: "true", team: "yes"}}
---
apiVersion: baselinepolicy.dev/v1alpha1
kind: BaselinePolicy
metadata: {name: team}
spec:
  rules: {defaultDeny: {enabled: false}, allowDNS: {enabled: false}, allowMonitoring: {enabled: false}}
  additionalPolicies:
  - name: same-team
    spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {team: "$(namespace.labels['team'])"}}}]}]}
`;

  it('writes NetworkPolicies by policy and namespace, default-deny last, that kubectl reads the same', async () => {
    const { stdout, stderr, code } = await onShop('render', twice);
    assert.equal(code, 0);
    assert.equal(
      stderr,
      'warning: BaselinePolicy team: namespace shop gets no same-team: spec.additionalPolicies[0]: the namespace has no label team\n',
    );
    const children = parseAllDocuments(stdout, { version: '1.1' }).map((document) => document.toJS() as NetworkPolicy);
    assert.deepEqual(
      children.map(({ metadata }) => `${metadata.namespace ?? ''}/${metadata.name}`),
      [
        'bank/base.allow-monitoring',
        'bank/base.default-deny',
        'shop/base.allow-monitoring',
        'shop/base.default-deny',
        'bank/team.same-team',
      ],
    );
    for (const { metadata } of children) assert.equal(metadata.ownerReferences, undefined);
    assert.deepEqual(children[4]?.spec?.ingress, [{ from: [{ podSelector: { matchLabels: { team: 'yes' } } }] }]);
    assert.equal((await onShop('render', twice)).stdout, stdout);
  });

  it('renders one namespace, JSON, and no protected namespace', async () => {
    const { stdout } = await onShop('render -n bank -o json', twice);
    const { items } = JSON.parse(stdout) as { items: NetworkPolicy[] };
    assert.deepEqual(
      items.map(({ metadata }) => metadata.namespace),
      ['bank', 'bank', 'bank'],
    );
    const all = SHOP_BASELINE.replace('spec:', 'spec:\n  namespaceSelector: {}');
    const text = `${all}---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}\n`;
    assert.doesNotMatch(await outputOf('render', text), /namespace: kube-system/);
    const unprotected = await outputOf('render --protected-namespaces=shop', text);
    assert.match(unprotected, /namespace: kube-system/);
    assert.doesNotMatch(unprotected, /namespace: shop/);
  });

  it('refuses an input without a BaselinePolicy', async () => {
    const { code, stderr } = await onShop('render');
    assert.equal(code, 2);
    assert.equal(stderr, 'error: expected at least one BaselinePolicy in the input, found none\n');
  });
});

describe('diff and status of files', () => {
  it('find nothing to do after render, and each change after an edit', async () => {
    const rendered = await outputOf('render', SHOP_BASELINE);
    const clean = `${SHOP_BASELINE}${rendered}`;
    assert.deepEqual(await onShop('diff', clean), { code: 0, stdout: '', stderr: '' });
    const { stdout: status, code } = await onShop('status', clean);
    assert.match(status, /^base +Enforce +1 +1 +0 +0 +Unknown +the operator has not reported on it$/m);
    assert.match(status, /^monitoring +- +unselected +no BaselinePolicy selects it\nshop +base +compliant$/m);
    assert.equal(code, 0);

    const edited = clean.replace(
      '  policyTypes:\n    - Ingress\n---',
      '  policyTypes:\n    - Ingress\n    - Egress\n---',
    );
    assert.notEqual(edited, clean);
    const diff = await onShop('diff', edited);
    assert.equal(diff.code, 1);
    assert.match(diff.stdout, /^--- a\/shop\/base.allow-monitoring\n\+\+\+ b\/shop\/base.allow-monitoring\n@@ /);
    assert.deepEqual(diff.stdout.match(/^-(?!--).*$/gm), ['-    - Egress']);
    assert.equal(diff.stdout.match(/^\+(?!\+\+).*$/gm), null);
    const drifted = await onShop('status', edited);
    assert.equal(drifted.code, 1);
    assert.match(drifted.stdout, /^shop +base +drifted +base.allow-monitoring is modified$/m);
  });

  it('show what is missing, left over, and in the way', async () => {
    const rendered = await outputOf('render', SHOP_BASELINE);
    const leftOver = rendered.replaceAll('default-deny', 'allow-dns');
    const missing = await onShop('diff', `${SHOP_BASELINE}${leftOver}`);
    assert.match(missing.stdout, /^--- \/dev\/null\n\+\+\+ b\/shop\/base.default-deny$/m);
    assert.match(missing.stdout, /^--- a\/shop\/base.allow-dns\n\+\+\+ \/dev\/null$/m);
    assert.equal(missing.code, 1);
    const foreign = `${SHOP_BASELINE}${rendered.replaceAll('managed-by: baseline-policy-operator', 'managed-by: hand')}`;
    const conflict = await onShop('status -o json', foreign);
    const { namespaces } = JSON.parse(conflict.stdout) as { namespaces: { state: string; why: string }[] };
    assert.deepEqual(
      namespaces.map(({ state }) => state),
      ['unselected', 'failed'],
    );
    assert.match(namespaces[1]?.why ?? '', /base.default-deny is not the operator's/);
    const warned = await onShop('diff', foreign);
    assert.match(warned.stderr, /NetworkPolicy shop\/base.default-deny is not the operator's/);
    assert.equal(warned.stdout, '');
    assert.equal(warned.code, 1);
  });
});

describe('status of a namespace that no BaselinePolicy selects', () => {
  const POLICY = `
---
apiVersion: baselinepolicy.dev/v1alpha1
kind: BaselinePolicy
metadata: { name: opted-in }
spec: { excludedNamespaces: [legacy] }
`;
  const namespaceOf = (name: string, enforce?: string): string => `
---
apiVersion: v1
kind: Namespace
metadata: { name: ${name}, labels: { ${enforce === undefined ? '' : `baselinepolicy.dev/enforce: '${enforce}'`} } }
`;
  const table: [name: string, label: string | undefined, state: string, why: RegExp][] = [
    ['plain', undefined, 'unselected', /^no BaselinePolicy selects it$/],
    ['out', 'false', 'unselected', /^no BaselinePolicy selects it$/],
    ['legacy', 'true', 'unselected', /^BaselinePolicy opted-in excludes it by name$/],
    ['kube-public', 'true', 'unselected', /^it is protected: no BaselinePolicy selects it$/],
    ['typo', 'True', 'uncovered', /^it has opted in \(baselinepolicy.dev\/enforce=True\), but no BaselinePolicy/],
  ];
  for (const [name, label, state, why] of table) {
    it(`is ${state} for ${name}, with the label ${String(label)}`, async () => {
      const { code, stdout } = await onShop(`status -n ${name} -o json`, `${POLICY}${namespaceOf(name, label)}`);
      const { namespaces } = JSON.parse(stdout) as { namespaces: { state: string; why: string }[] };
      assert.deepEqual(
        namespaces.map((one) => one.state),
        [state],
      );
      assert.match(namespaces[0]?.why ?? '', why);
      assert.equal(code, state === 'uncovered' ? 1 : 0);
    });
  }

  it('is uncovered when it has opted in and there is no BaselinePolicy yet', async () => {
    const { code, stdout } = await onShop('status -n early', namespaceOf('early', 'true'));
    assert.match(stdout, /^early +- +uncovered +it has opted in /m);
    assert.equal(code, 1);
  });
});

describe('lint', () => {
  interface LintEntry {
    code: string;
    object: { kind: string; name: string };
    path: string;
    file?: string;
    line?: number;
    silenced?: { reason: string };
  }
  const without = SHOP.replace('  ingress:', '  policyTypes: [Ingress]\n  ingress:').replace(
    'app: frontend',
    'app: web',
  );

  async function lintOf(text: string, flags = ''): Promise<CLIResult> {
    return runCLI(['lint', '-f', '-', ...flags.split(' ').filter((word) => word !== '')], { stdin: text });
  }

  it('tells what, where, why it matters and how to mend it', async () => {
    const { code, stdout, stderr } = await lintOf(SHOP);
    assert.deepEqual([code, stderr], [1, '']);
    const line = SHOP.split('\n').findIndex((text) => text.includes('app: frontend')) + 1;
    const found = stdout.split(/^(?=error|warning|info)/m).find((text) => text.startsWith('warning BPL005')) ?? '';
    const [head, message, why, fix] = found.split('\n');
    assert.equal(
      head,
      `warning BPL005 NetworkPolicy shop/backend spec.ingress[0].from[0].podSelector (standard input:${line})`,
    );
    assert.match(message ?? '', /^ {2}.*app=frontend/);
    assert.match(why ?? '', /^ {2}Why: /);
    assert.match(fix ?? '', /^ {2}Fix: /);
    assert.match(stdout, /^Findings: (\d+ error, )?\d+ warning(, \d+ info)?\.$/m);
  });

  it('gives the same as JSON, SARIF and commands of GitHub', async () => {
    const list = JSON.parse((await lintOf(SHOP, '-o json')).stdout) as LintEntry[];
    assert.ok(list.some(({ code, line }) => code === 'BPL005' && line !== undefined));
    const { stdout, code } = await lintOf(SHOP, '-o sarif');
    assert.equal(code, 1);
    const sarif = JSON.parse(stdout) as {
      version: string;
      runs: {
        tool: { driver: { rules: { id: string }[] } };
        results: {
          ruleId: string;
          ruleIndex: number;
          locations: { physicalLocation: { region: { startLine: number } } }[];
        }[];
      }[];
    };
    assert.equal(sarif.version, '2.1.0');
    const [{ tool, results } = { tool: { driver: { rules: [] } }, results: [] }] = sarif.runs;
    assert.deepEqual(
      results.map(({ ruleId, locations }) => [ruleId, locations[0]?.physicalLocation.region.startLine]),
      list.map(({ code: id, line }) => [id, line]),
    );
    for (const { ruleId, ruleIndex } of results) assert.equal(tool.driver.rules[ruleIndex]?.id, ruleId);
    const github = (await lintOf(SHOP, '-o github')).stdout.trimEnd().split('\n');
    assert.equal(github.length, list.length);
    for (const command of github) {
      assert.match(command, /^::(error|warning|notice) file=standard input,line=\d+,title=BPL\d{3} [^:,]+::.+$/);
    }
  });

  it('shows silenced findings only when asked, and is 0 when there are no others', async () => {
    const silence = (text: string): string =>
      text.replaceAll(/^metadata: \{name: (\w+)(.*)\}$/gm, (_, name: string, rest: string) => {
        const codes = ['BPL001', 'BPL003', 'BPL005', 'BPL013'].map((one) => `${one}=for ${name}`).join('; ');
        return `metadata: {name: ${name}${rest}, annotations: {baselinepolicy.dev/lint-ignore: "${codes}"}}`;
      });
    const { code, stdout } = await lintOf(silence(without));
    assert.match(stdout, /^No findings; \d+ silenced\.\n$/);
    assert.equal(code, 0);
    const shown = (await lintOf(silence(without), '--silenced')).stdout;
    assert.match(shown, /^ {2}Silenced: for frontend$/m);
    const list = JSON.parse((await lintOf(silence(without), '-o json')).stdout) as LintEntry[];
    assert.ok(list.length > 0 && list.every(({ silenced }) => silenced !== undefined));
  });

  it('reports from a severity on, and one namespace', async () => {
    const codesOf = async (flags: string): Promise<string[]> =>
      (JSON.parse((await lintOf(SHOP, `-o json ${flags}`)).stdout) as LintEntry[]).map(({ object }) => object.name);
    assert.deepEqual(await codesOf('--severity error'), []);
    assert.ok((await codesOf('-n monitoring')).every((name) => name === 'prometheus' || name === 'monitoring'));
    assert.ok((await codesOf('-n monitoring')).length > 0);
    assert.equal((await lintOf(SHOP, '--severity error')).code, 0);
  });
});

describe('impact', () => {
  interface ImpactEntry {
    isEmpty: boolean;
    lost: Connection[];
    gained: Connection[];
    isolation: { Ingress: { gained: string[] } };
  }
  const AUDIT = `${SHOP_BASELINE}  mode: Audit\n`;

  async function impactOf(text: string, ...flags: readonly string[]): Promise<ImpactEntry> {
    const { stdout, stderr } = await runCLI(['impact', '-f', '-', '-o', 'json', ...flags], { stdin: text });
    assert.equal(stderr, '');
    return JSON.parse(stdout) as ImpactEntry;
  }

  it('is what changes when policies in mode Audit are enforced', async () => {
    const found = await impactOf(`${SHOP}---${AUDIT}`);
    const pairs = (list: readonly Connection[]): string[] => inside(list).map((pair) => pair.replace(/ [^ ]*$/, ''));
    const [before, after] = [await connectionsOf(), await connectionsOf(SHOP_BASELINE)];
    assert.deepEqual(pairs(found.lost), [
      'shop/backend[Deployment] shop/frontend[Deployment]',
      'shop/db[StatefulSet] shop/frontend[Deployment]',
    ]);
    assert.deepEqual(pairs(found.gained), [
      'monitoring/prometheus[Pod] shop/backend[Deployment]',
      'monitoring/prometheus[Pod] shop/db[StatefulSet]',
    ]);
    assert.equal(inside(before).length - 2 + 2, inside(after).length);
    assert.deepEqual(found.isolation.Ingress.gained, ['shop/frontend[Deployment]']);
  });

  it('shows it as text, and is 1; nothing for what is enforced already, and 0', async () => {
    const { code, stdout, stderr } = await onShop('impact', AUDIT);
    assert.deepEqual([code, stderr], [1, '']);
    assert.match(stdout, /^Connections lost: 3; gained: 2\.$/m);
    assert.match(stdout, /^Workloads that gain isolation of ingress \(1\): shop\/frontend\[Deployment\]$/m);
    assert.match(stdout, /^shop +shop +2 +0$/m);
    assert.match(stdout, /^ {2}shop\/db\[StatefulSet\] +shop\/frontend\[Deployment\] +all ports$/m);
    assert.deepEqual(await onShop('impact', SHOP_BASELINE), { code: 0, stdout: 'Nothing changes.\n', stderr: '' });
  });

  it('applies objects to the input, or compares with other files', async () => {
    using folder = new Folder({
      'change.yaml': SHOP_BASELINE,
      'after/shop.yaml': `${SHOP}---${SHOP_BASELINE}`,
      'less.yaml': SHOP_BASELINE.replace('defaultDeny: {policyTypes: [Ingress]}', 'defaultDeny: {enabled: false}'),
    });
    const audit = await impactOf(`${SHOP}---${AUDIT}`);
    assert.deepEqual(await impactOf(SHOP, '--apply', `${folder.path}/change.yaml`), audit);
    assert.deepEqual(await impactOf(SHOP, '--after', `${folder.path}/after`), audit);
    assert.equal((await impactOf(`${SHOP}---${SHOP_BASELINE}`, '--after', `${folder.path}/after`)).isEmpty, true);
    const both = await runCLI(['impact', '-f', '-', '--apply', 'a', '--after', 'b'], { stdin: SHOP });
    assert.deepEqual(
      [both.code, both.stderr.split('\n')[0]],
      [2, 'error: --apply: expected without --after, got both'],
    );
  });

  it('takes away the children that a changed policy does not want any more', async () => {
    const rendered = await outputOf('render', SHOP_BASELINE);
    const closed = `${SHOP}---${SHOP_BASELINE}${rendered}`;
    using folder = new Folder({
      'open.yaml': SHOP_BASELINE.replace('    defaultDeny', '    allowMonitoring: {enabled: false}\n    defaultDeny'),
    });
    const { lost, gained } = await impactOf(closed, '--apply', `${folder.path}/open.yaml`);
    assert.deepEqual(
      lost.map(({ src, dst }) => `${src} ${dst}`),
      ['backend[Deployment]', 'db[StatefulSet]', 'frontend[Deployment]'].map(
        (name) => `monitoring/prometheus[Pod] shop/${name}`,
      ),
    );
    assert.deepEqual(gained, []);
  });
});

describe('The program', () => {
  it('has help with examples for each command', async () => {
    for (const { usage } of COMMANDS) {
      const [name = ''] = usage.split(' ');
      const { code, stdout, stderr } = await runCLI([name, '--help']);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, new RegExp(`Usage: kubectl-baseline ${name}.*Examples:\\n  kubectl-baseline ${name}`, 's'));
    }
    const { stdout } = await runCLI(['--help']);
    for (const { usage } of COMMANDS) assert.ok(stdout.includes(`  kubectl-baseline ${usage}`), usage);
  });

  it('has a version, and completion for bash and zsh', async () => {
    assert.deepEqual(await runCLI(['--version']), { code: 0, stdout: `${VERSION}\n`, stderr: '' });
    assert.match((await runCLI(['completion', 'bash'])).stdout, /^complete .* kubectl-baseline$/m);
    assert.match((await runCLI(['completion', 'zsh'])).stdout, /^#compdef kubectl-baseline$/m);
    const words = (await runCLI(['--get-yargs-completions', 'kubectl-baseline', 'connections', '--'])).stdout;
    assert.match(words, /^--ip-block-matches-pods\b/m);
  });

  const wrong: readonly (readonly [line: string, message: string])[] = [
    ['', 'expected a command, got none'],
    ['cann', 'expected a command, got cann; did you mean can?'],
    ['xyzzy', 'expected a command, got xyzzy'],
    ['can shop/a', 'expected 2 arguments, got 1'],
    ['can a b c', 'expected flags and arguments of this command, got c'],
    ['can a b --prot 80', 'expected flags and arguments of this command, got --prot'],
    ['can a b -f', '-f: expected a value, got none'],
    [
      'connections -o xml',
      '--output: expected "text", "json", "yaml", "csv", "md", "dot", "mermaid", "svg", got "xml"',
    ],
    ['can a b --port x -f /none', '--port: expected a port such as 5432/TCP or 8000-8100/UDP, got "x"'],
    ['can a b --port 99999 -f /none', '--port: expected a port from 1 to 65535, got 99999'],
    ['can a b --port 80-70 -f /none', '--port: expected ports from 1 to 65535 in ascending order, got 80 to 70'],
    ['can a b --request-timeout 5x', '--request-timeout: expected a duration such as 30s, got "5x"'],
    ['connections -A -n shop -f /none', '--all-namespaces: expected without --namespace, got both'],
    ...Object.keys(CLUSTER_FLAGS).map((name): [string, string] => [
      `connections --${name}${name.startsWith('insecure') ? '' : ' x'} -f /none`,
      `--${name}: expected without --filename, got both`,
    ]),
    ['connections --as= -n shop', '--as: expected a value, got an empty one'],
    ['connections --server x:1', '--server: expected an http or https URL, found x:1'],
    ['connections -R', '--recursive: expected with --filename, got none'],
  ];
  for (const [line, message] of wrong) {
    it(`refuses "${line}"`, async () => {
      const { code, stdout, stderr } = await runCLI(line.split(' ').filter((word) => word !== ''));
      assert.equal(stderr.split('\n')[0], `error: ${message}`);
      assert.deepEqual([code, stdout], [2, '']);
    });
  }

  it('refuses ends that are not there, and names those that are', async () => {
    const refusal = async (end: string): Promise<string> => {
      const { stderr, code } = await onShop(`can ${end} shop/db`);
      assert.equal(code, 2);
      return stderr.split('\n')[0] ?? '';
    };
    const there = 'the namespace has shop/backend[Deployment], shop/db[StatefulSet], shop/frontend[Deployment]';
    assert.equal(await refusal('shop/x'), `error: SOURCE: expected a workload or pod, got "shop/x"; ${there}`);
    assert.equal(
      await refusal('shop/sts/backend'),
      `error: SOURCE: expected a workload or pod, got "shop/sts/backend"; ${there}`,
    );
    assert.equal(
      await refusal('none/x'),
      'error: SOURCE: expected a workload or pod, got "none/x"; the namespace has no workloads',
    );
    assert.equal(
      await refusal('shop:app=x'),
      `error: SOURCE: expected workloads with app=x in it, got "shop:app=x"; ${there}`,
    );
    assert.match(
      await refusal('shop/a/b/c'),
      /expected namespace\/kind\/name or namespace\/name, got "shop\/a\/b\/c"$/,
    );
  });

  it('reports what the operator would refuse as an error of the input', async () => {
    const wrong = SHOP_BASELINE.replace(
      'spec:',
      'spec:\n  additionalPolicies: [{name: a, spec: {egress: [{to: [{ipBlock: {cidr: "$(namespace.name)"}}]}]}}]',
    );
    const { code, stderr } = await onShop('connections', wrong);
    assert.equal(code, 2);
    assert.match(
      stderr,
      /^error: BaselinePolicy base: its NetworkPolicy shop\/base.a, spec.egress\[0\].to\[0\]: expected a CIDR, found "shop"$/m,
    );
  });
});

describe('The process kubectl-baseline', function () {
  this.timeout(60_000);

  it('reads standard input and exits with the code of the answer', async () => {
    const allowed = await spawnCLI(['can', 'shop/backend', 'shop/db', '-p', '5432', '-f', '-'], { stdin: SHOP });
    assert.deepEqual(allowed, {
      code: 0,
      stdout: 'allow: shop/backend[Deployment] to shop/db[StatefulSet], 5432/TCP\n',
      stderr: '',
    });
    assert.equal((await spawnCLI(['can', 'shop/db', 'shop/backend', '-f', '-'], { stdin: SHOP })).code, 1);
  });

  const inputs: readonly (readonly [what: string, files: Record<string, string>, message: RegExp])[] = [
    ['broken YAML', { 'a.yaml': 'a: [1' }, /a\.yaml, document 1, line 1: /],
    ['broken JSON', { 'a.json': '{"a": 1' }, /a\.json, document 1, line 1: /],
    [
      'a wrong type',
      { 'a.yaml': `${SHOP}---\napiVersion: v1\nkind: Pod\nmetadata: {name: [a]}\n` },
      /a\.yaml, document \d+, line \d+: metadata\.name: expected a string, found a list\n$/,
    ],
    [
      'an unknown field',
      { 'a.yaml': SHOP.replace('policyTypes', 'x').replace('from:', 'form:') },
      /spec\.ingress\[0\]\.form: unknown field; expected one of from, ports\n$/,
    ],
    ['an empty folder', {}, /--filename: expected files that end in \.yaml, \.yml, \.json in .*, found none\n$/],
  ];
  for (const [what, files, message] of inputs) {
    it(`exits with 2 for ${what}, without a stack trace`, async () => {
      using folder = new Folder(files);
      const { code, stdout, stderr } = await spawnCLI(['connections', '-f', folder.path]);
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /\n\s+at /);
      assert.deepEqual([code, stdout], [2, '']);
    });
  }

  it('loads no client, log or metrics for files', async () => {
    using folder = new Folder({});
    const { code } = await spawnCLI(['connections', '-f', '-'], {
      stdin: SHOP,
      env: { NODE_V8_COVERAGE: folder.path },
    });
    assert.equal(code, 0);
    const loaded = readdirSync(folder.path).flatMap((file) => {
      const { result } = JSON.parse(readFileSync(join(folder.path, file), 'utf8')) as { result: { url: string }[] };
      return result.map(({ url }) => url);
    });
    assert.ok(loaded.some((url) => url.endsWith('/src/cli/main.ts')));
    assert.deepEqual(
      loaded.filter((url) => /\/node_modules\/(@kubernetes|undici|winston|prom-client)\/|\/src\/kube\//.test(url)),
      [],
    );
  });

  it('ends quietly when its reader has gone', async () => {
    const { code, stderr } = await spawnCLI(['connections', '-f', '-'], { stdin: SHOP, isReaderGone: true });
    assert.deepEqual([code, stderr], [0, '']);
  });

  it('exits with 2 for a kubeconfig that is none', async () => {
    using folder = new Folder({ config: 'a: [1' });
    for (const more of [[], ['--context', 'x']]) {
      const { code, stderr } = await spawnCLI(['status', '--kubeconfig', `${folder.path}/config`, ...more]);
      assert.match(stderr, /^error: .*\/config\b.*: /);
      assert.doesNotMatch(stderr, /\n\s+at /);
      assert.equal(code, 2);
    }
  });

  it('exits with 2 when there is no cluster', async () => {
    const { code, stderr } = await spawnCLI(['status'], { env: { KUBECONFIG: '/none/config' } });
    assert.match(stderr, /^error: KUBECONFIG: the file \/none\/config does not exist\n$/);
    assert.equal(code, 2);
  });
});
