import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERSION } from '../../src/version.ts';
import { BASE_IMAGE, BUILDER_IMAGE, DockerDaemon } from '../../hack/node/docker.ts';
import { readImageConfig } from '../../hack/node/images.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { PROJECT } from '../support/kubectl.ts';
import { OWN_NODE } from '../support/real-cluster.ts';
import { OPERATOR, OPERATOR_NAMESPACE } from '../support/service-account.ts';

const IMAGE = `${OPERATOR}:dockerfile`;

interface InspectedImage {
  readonly Config: Readonly<Record<string, unknown>> & {
    readonly Env: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  };
}

// Where somebody else's Docker may be, there may be other images too.
if (OWN_NODE) {
  describe('The image that the Dockerfile makes', function () {
    this.timeout(600_000);
    let docker: DockerDaemon;

    before(async () => {
      docker = await DockerDaemon.start();
      await docker.run(
        ...['make', 'image', `IMG=${IMAGE}`, 'CONTAINER_TOOL=docker'],
        ...[`BASE_IMAGE=${BASE_IMAGE}`, `BUILDER_IMAGE=${BUILDER_IMAGE}`],
      );
    });

    after(() => docker.stop());

    it('starts the operator as nobody, and says what it is', async () => {
      const [image] = JSON.parse(await docker.run('docker', 'image', 'inspect', IMAGE)) as InspectedImage[];
      assert.ok(image);
      const { Env, Labels } = image.Config;
      const expected = readImageConfig(await readFile(join(PROJECT, 'Dockerfile'), 'utf8'));
      for (const [key, value] of Object.entries(expected)) assert.deepEqual(image.Config[key], value, key);
      assert.deepEqual(Env, expected.Env);
      assert.equal(Labels['org.opencontainers.image.version'], VERSION);
    });

    it('holds the operator and the plugin', async () => {
      const run = ['run', '--rm', '--network=none', '--read-only'];
      assert.equal(await docker.run('docker', ...run, IMAGE, '--version'), `${OPERATOR} ${VERSION}\n`);
      const plugin = await docker.run(
        ...['docker', ...run, '--entrypoint=node', IMAGE, 'dist/kubectl-baseline.js', '--version'],
      );
      assert.match(plugin, new RegExp(`${VERSION.replaceAll('.', '\\.')}\\n$`));
    });

    it('runs in the cluster', async () => {
      const cluster = await installedOperator();
      const archive = join(tmpdir(), 'operator.tar');
      await docker.run('docker', 'save', '--output', archive, IMAGE);
      await cluster.node.importImages(archive);
      await cluster.kubectl(
        ...['set', 'image', `deployment/${OPERATOR}`, `operator=${IMAGE}`, `--namespace=${OPERATOR_NAMESPACE}`],
      );
      await cluster.operatorReady();
      const images = (await cluster.operatorPods()).map(({ spec }) => spec.containers.map(({ image }) => image));
      assert.deepEqual(images, [[IMAGE], [IMAGE]]);
    });
  });
}
