import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Component } from './component.ts';

const READY_TIMEOUT_MS = 60_000;
const SUSPEND_TIMEOUT_MS = 10_000;

/** An etcd of one member at a Unix socket, with its data in a folder. */
export class Etcd {
  /** What kube-apiserver takes for --etcd-servers. */
  readonly endpoint: string;
  readonly #data: string;
  readonly #agent: Agent;
  #component: Component | undefined;

  /** Starts nothing yet; the data and the socket will be in `folder`. */
  constructor(folder: string) {
    const socketPath = join(folder, 'etcd.sock');
    this.endpoint = `unix://${socketPath}`;
    this.#data = join(folder, 'etcd');
    this.#agent = new Agent({ connect: { socketPath } });
  }

  /** Starts etcd by `run`, with these flags after the usual ones, and waits until it is healthy. */
  async start(run: (flags: readonly string[]) => Component, flags: readonly string[] = []): Promise<void> {
    // A Unix socket needs no port. Peers there are none; their URL must only look like one.
    const peer = 'http://localhost:2380';
    this.#component = run([
      `--data-dir=${this.#data}`,
      `--listen-client-urls=${this.endpoint}`,
      '--advertise-client-urls=http://localhost:2379',
      '--listen-peer-urls=http://127.0.0.1:0',
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      '--unsafe-no-fsync',
      ...flags,
    ]);
    await this.#component.ready(async () => {
      const { statusCode, body } = await request('http://localhost/health', { dispatcher: this.#agent });
      await body.dump();
      return statusCode === 200;
    }, READY_TIMEOUT_MS);
  }

  /** The current revision: the resourceVersion of the last write. */
  async revision(): Promise<number> {
    const key = Buffer.from('\0').toString('base64');
    const { header } = await this.#call('/v3/kv/range', { key, limit: 1, keys_only: true });
    return Number(header.revision);
  }

  /** Compacts the history up to the current revision, which it returns. */
  async compact(): Promise<number> {
    const revision = await this.revision();
    await this.#call('/v3/kv/compaction', { revision, physical: true });
    return revision;
  }

  /**
   * Gives another etcd, not started yet, the data of this one at a moment during the call, with every write that was
   * answered before it. This one is suspended meanwhile, some tenths of a second: its connections stay, and its
   * requests wait. What is copied is what a crash at that moment would leave, which etcd recovers from: the operating
   * system's cache, where unsynced writes are, is what the copy reads.
   */
  async copyDataTo(other: Etcd): Promise<void> {
    if (!this.#component) throw new Error(`Expected an etcd that was started, got none at ${this.endpoint}`);
    // A .tmp file is space reserved for the next file of the write-ahead log.
    const filter = (path: string) => !path.endsWith('.tmp');
    await this.#component.suspended(() => cp(this.#data, other.#data, { recursive: true, filter }), SUSPEND_TIMEOUT_MS);
  }

  /** Ends the connections of this object's own requests; the process is for the one who runs it to end. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  /** Calls the gRPC gateway, which takes and gives JSON, bytes in base64 and 64-bit numbers as strings. */
  async #call(path: string, body: object): Promise<{ header: { revision: string } }> {
    const { statusCode, body: answer } = await request(`http://localhost${path}`, {
      dispatcher: this.#agent,
      method: 'POST',
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (statusCode !== 200) throw new Error(`Expected 200 of etcd for ${path}, got ${statusCode}: ${text}`);
    return JSON.parse(text) as { header: { revision: string } };
  }
}
