import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { type ManifestObject, PROJECT } from '../support/kubectl.ts';

/** The chart, as a path from the root of the project. */
export const CHART = 'charts/baseline-policy-operator';

/** The namespace of config/default. */
export const NAMESPACE = 'baseline-policy-system';

const HELM = join(PROJECT, 'bin/tools/helm');

/** What helm runs with. */
export interface HelmOptions {
  /** Default: none, so that it knows no cluster. */
  readonly kubeconfig?: string;
  /** Text of its standard input, which `--values=-` reads. */
  readonly input?: string;
}

/**
 * Runs helm in the root of the project and returns what it printed. It neither reads nor writes what a user has of helm.
 * Rejects with its standard error in the message when it fails.
 */
export async function helm(args: readonly string[], options: HelmOptions = {}): Promise<string> {
  if (!existsSync(HELM)) throw new Error(`Expected helm at ${HELM}, found none. Run hack/tools/build.sh helm.`);
  const home = join(tmpdir(), 'baseline-policy-operator-helm');
  const env = {
    ...process.env,
    KUBECONFIG: options.kubeconfig ?? '/dev/null',
    HELM_CACHE_HOME: join(home, 'cache'),
    HELM_CONFIG_HOME: join(home, 'config'),
    HELM_DATA_HOME: join(home, 'data'),
  };
  const running = promisify(execFile)(HELM, args, { cwd: PROJECT, env, maxBuffer: 2 ** 24 });
  running.child.stdin?.end(options.input ?? '');
  return (await running).stdout;
}

/** Values as an object, or as the text of a file. */
export type Values = object | string;

/** What `helm template` prints for these values. */
export async function template(values: Values = {}, namespace = NAMESPACE): Promise<string> {
  const input = typeof values === 'string' ? values : JSON.stringify(values);
  return helm(['template', 'release', CHART, `--namespace=${namespace}`, '--values=-'], { input });
}

/** The objects that the chart makes of these values. */
export async function render(values: Values = {}, namespace = NAMESPACE): Promise<ManifestObject[]> {
  return parseAllDocuments(await template(values, namespace)).map((document) => {
    const [problem] = document.errors;
    if (problem !== undefined) throw new Error(`helm template: expected YAML, got: ${problem.message}`);
    return document.toJS() as ManifestObject;
  });
}
