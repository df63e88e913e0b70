import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { eventually } from './await.ts';
import { PROJECT } from './kubectl.ts';

/** One series of an instant query: its labels, and its value now. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  /** Unix time in seconds, and the value as text. */
  readonly value: readonly [number, string];
}

/** What a Prometheus scrapes, and how it is let in. */
export interface PrometheusOptions {
  readonly job: string;
  /** `host:port` of each target, which serves /metrics by HTTPS. */
  readonly targets: readonly string[];
  readonly token: string;
  /** A file of rules, as text. */
  readonly rules: string;
}

/** Path of a program of Prometheus; throws with what to do when it was not built. */
export function prometheusProgram(name: 'promtool' | 'prometheus'): string {
  const path = join(PROJECT, 'bin/prometheus', name);
  try {
    accessSync(path, constants.X_OK);
  } catch {
    throw new Error(`Expected ${name} in ${path}, found none; run hack/prometheus/build.sh ${name}`);
  }
  return path;
}

/** A real Prometheus on loopback, with its data in a folder that goes with it. It scrapes every second. */
export class Prometheus implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #url: string;
  #output = '';

  private constructor(process: ChildProcess, folder: string, url: string) {
    this.#process = process;
    this.#folder = folder;
    this.#url = url;
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    }
  }

  /** Starts one; resolves when it answers queries. */
  static async start({ job, targets, token, rules }: PrometheusOptions): Promise<Prometheus> {
    const program = prometheusProgram('prometheus');
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    const config = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [file('rules.yaml', rules)],
      scrape_configs: [
        {
          job_name: job,
          scheme: 'https',
          authorization: { credentials_file: file('token', token) },
          tls_config: { insecure_skip_verify: true },
          static_configs: [{ targets }],
        },
      ],
    };
    const address = `127.0.0.1:${await freePort()}`;
    const child = spawn(
      program,
      [
        `--config.file=${file('prometheus.yaml', stringify(config))}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    // A test that dies must not leave it behind.
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    const prometheus = new Prometheus(child, folder, `http://${address}`);
    try {
      await eventually(
        async () => {
          assert.equal(child.exitCode, null, prometheus.#output);
          assert.equal((await fetch(`${prometheus.#url}/-/ready`)).status, 200);
        },
        { timeout: 60_000 },
      );
    } catch (error) {
      await prometheus[Symbol.asyncDispose]();
      throw error;
    }
    return prometheus;
  }

  /** The answer to an instant query, now; rejects with what Prometheus says when the expression is wrong. */
  async query(expression: string): Promise<readonly Sample[]> {
    const answer = (await this.#get(`/api/v1/query?query=${encodeURIComponent(expression)}`)) as { result: Sample[] };
    return answer.result;
  }

  /** Names of the alerts of its rules, with the error of the last evaluation of each; undefined when there was none. */
  async ruleErrors(): Promise<ReadonlyMap<string, string | undefined>> {
    const { groups } = (await this.#get('/api/v1/rules?type=alert')) as {
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    };
    return new Map(
      groups.flatMap(({ rules }) =>
        rules.map(
          ({ name, health, lastError }) => [name, health === 'ok' ? undefined : (lastError ?? health)] as const,
        ),
      ),
    );
  }

  /** Ends it and removes its data. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGTERM');
      await ended;
    }
    rmSync(this.#folder, { recursive: true });
  }

  async #get(path: string): Promise<unknown> {
    const response = await fetch(this.#url + path);
    const answer = (await response.json()) as { status: string; data: unknown; error?: string };
    assert.equal(answer.status, 'success', `${decodeURIComponent(path)}: ${answer.error ?? ''}`);
    return answer.data;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
