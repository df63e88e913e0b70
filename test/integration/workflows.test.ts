import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { Folder } from '../support/cli.ts';
import { PROJECT } from '../support/kubectl.ts';

interface Step {
  readonly uses?: string;
  readonly run?: string;
}

interface Workflow {
  readonly permissions?: object;
  readonly jobs: Record<string, { readonly permissions?: Record<string, string>; readonly steps: readonly Step[] }>;
}

const FOLDER = join(PROJECT, '.github/workflows');

for (const file of readdirSync(FOLDER)) {
  describe(`The workflow ${file}`, () => {
    const text = readFileSync(join(FOLDER, file), 'utf8');
    const workflow = parse(text) as Workflow;
    const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);

    it('gives each job the rights that it needs, and none to all', () => {
      assert.deepEqual(workflow.permissions, {});
      for (const [name, { permissions }] of Object.entries(workflow.jobs)) {
        assert.ok(permissions, name);
        // Only a release writes.
        if (file !== 'release.yml') assert.deepEqual(permissions, { contents: 'read' }, name);
      }
    });

    it('uses actions by commit, and says which version that is', () => {
      const lines = text.split('\n').filter((line) => line.includes('uses:'));
      assert.equal(lines.length, steps.filter(({ uses }) => uses !== undefined).length);
      for (const line of lines) assert.match(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    });

    // Tried with buildx 0.28: --format '{{ .Manifest.Digest }}' prints a table of all that it knows of the image.
    it('asks buildx for JSON', () => {
      const formats = steps.flatMap(({ run = '' }) => [...run.matchAll(/imagetools inspect .*--format (\S+)/g)]);
      for (const [, format] of formats) assert.match(format ?? '', /^'\{\{json$/);
      assert.equal(formats.length, file === 'release.yml' ? 1 : 0);
    });

    it('puts no value into a script but by the environment', () => {
      for (const { run = '' } of steps) assert.doesNotMatch(run, /\$\{\{/);
    });
  });
}

describe('hack/kind/cluster.sh', () => {
  /** Runs it where these programs are on the PATH, beside those of a bare system, and returns how it ended. */
  async function cluster(
    action: string,
    programs: Record<string, string>,
    variables: Record<string, string> = {},
  ): Promise<{ code: number; stderr: string }> {
    const find =
      'for name in sh make sed dirname mktemp grep cat rm env; do command -v "$name"; done; test -x /bin/echo && echo /bin/echo';
    const { stdout } = await promisify(execFile)('sh', ['-c', find]);
    const bare = stdout
      .trim()
      .split('\n')
      .map((path): [string, string] => [basename(path), `#!/bin/sh\nexec ${path} "$@"\n`]);
    using folder = new Folder({ ...Object.fromEntries(bare), ...programs });
    await promisify(execFile)('chmod', ['-R', '+x', folder.path]);
    try {
      const { stderr } = await promisify(execFile)('/bin/sh', [join(PROJECT, 'hack/kind/cluster.sh'), action], {
        env: { PATH: folder.path, ...variables },
      });
      return { code: 0, stderr };
    } catch (error) {
      const { code, stderr } = error as { code: number; stderr: string };
      return { code, stderr };
    }
  }

  it('says that docker is missing', async () => {
    const { code, stderr } = await cluster('up', {});
    assert.equal(code, 1);
    assert.match(stderr, /^kind: expected docker, .* found none: https:\S+\n$/);
  });

  it('says that docker does not answer', async () => {
    const { code, stderr } = await cluster('up', { docker: '#!/bin/sh\nexit 1\n' });
    assert.equal(code, 1);
    assert.match(stderr, /^kind: docker is installed, but its daemon does not answer/);
  });

  it('says that kubectl is missing, and knows up, e2e and down only', async () => {
    const docker = '#!/bin/sh\n';
    const { code, stderr } = await cluster('up', { docker });
    assert.equal(code, 1);
    assert.match(stderr, /^kind: expected kubectl/);
    assert.deepEqual(await cluster('sideways', { docker }), {
      code: 2,
      stderr: 'kind: expected up, e2e or down, got sideways\n',
    });
  });

  /** What is there in place of docker, kind, make and kubectl, which tell what they are asked for. */
  function tellingPrograms({ deployed }: { deployed: boolean }): Record<string, string> {
    return {
      docker: '#!/bin/sh\n',
      kubectl: `#!/bin/sh
case "$*" in
  *' get deployment/'*) ${deployed ? 'echo deployment.apps/baseline-policy-operator' : ':'} ;;
  *) echo "kubectl $*" >&2 ;;
esac
`,
      make: `#!/bin/sh
case "$*" in
  *version) echo 0.1.0 ;;
  *) echo "make $* $(cat "\${KUBECONFIG:-/dev/null}")\${ENFORCED:+, which enforces}" >&2 ;;
esac
`,
      kind: `#!/bin/sh
case "$1 $2" in
  'version -q') echo 0.30.0 ;;
  'get clusters') ${deployed ? 'echo baseline' : ':'} ;;
  'get kubeconfig') echo "of kind $4" ;;
  *) echo "kind $*" >&2 ;;
esac
`,
    };
  }

  it('installs the operator in that cluster, whatever the current one is, and then tests it there', async () => {
    const { code, stderr } = await cluster('e2e', tellingPrograms({ deployed: false }));
    assert.deepEqual(stderr.trim().split('\n'), [
      'kind create cluster --name baseline --config hack/kind/cluster.yaml --wait 3m',
      'make image IMG=baseline-policy-operator:0.1.0 ',
      'kind load docker-image baseline-policy-operator:0.1.0 --name baseline',
      'make deploy IMG=baseline-policy-operator:0.1.0 KUBECTL=kubectl of kind baseline',
      'kubectl -n baseline-policy-system rollout status deployment/baseline-policy-operator --timeout=3m',
      'make e2e IMG=baseline-policy-operator:0.1.0 of kind baseline, which enforces',
    ]);
    assert.equal(code, 0);
  });

  it('gives a cluster that is there the image of now, and a new one the Kubernetes that is asked for', async () => {
    const again = await cluster('up', tellingPrograms({ deployed: true }));
    assert.deepEqual(again.stderr.trim().split('\n'), [
      'make image IMG=baseline-policy-operator:0.1.0 ',
      'kind load docker-image baseline-policy-operator:0.1.0 --name baseline',
      'make deploy IMG=baseline-policy-operator:0.1.0 KUBECTL=kubectl of kind baseline',
      'kubectl -n baseline-policy-system rollout restart deployment.apps/baseline-policy-operator',
      'kubectl -n baseline-policy-system rollout status deployment/baseline-policy-operator --timeout=3m',
    ]);
    const other = await cluster('up', tellingPrograms({ deployed: false }), { NODE_IMAGE: 'kindest/node:v1.34.4' });
    assert.match(other.stderr, /^kind create cluster .* --image kindest\/node:v1\.34\.4 --wait 3m\n/);
  });

  it('takes no kind whose network plugin enforces nothing', async () => {
    const { code, stderr } = await cluster('up', {
      docker: '#!/bin/sh\n[ "$1" = info ]\n',
      kubectl: '#!/bin/sh\n',
      kind: '#!/bin/sh\necho 0.23.0\n',
    });
    assert.notEqual(code, 0);
    assert.match(stderr, /^kind: the kind on the PATH is 0\.23\.0, whose network plugin enforces no NetworkPolicies/);
  });
});
