import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';

/** What a process holds, after a full garbage collection. */
export interface ProcessLevel {
  readonly fileDescriptors: number;
  /** Timers that keep the process alive. */
  readonly timers: number;
  /** Maps and Sets of the whole heap, the sum of their entries: caches, queues and whatever else is remembered. */
  readonly entries: number;
  /** Bytes of live objects. */
  readonly heap: number;
}

interface Answer {
  readonly id?: number;
  readonly result?: { readonly result?: { readonly value?: unknown; readonly objectId?: string } } & Record<
    string,
    unknown
  >;
  readonly error?: { readonly message: string };
}

/**
 * Looks into a running Node process by the Chrome DevTools protocol, which needs no code in it: start it with
 * `--inspect=127.0.0.1:0`.
 */
export class Inspector implements AsyncDisposable {
  readonly #pid: number;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #calls = 0;

  private constructor(pid: number, socket: WebSocket) {
    this.#pid = pid;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const answer = JSON.parse(String(data)) as Answer;
      if (answer.id === undefined) return;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** Connects to a process; `stderr` is what it has written there, which names the address. */
  static async connect(pid: number, stderr: string): Promise<Inspector> {
    const [address] = /ws:\/\/\S+/.exec(stderr) ?? [];
    assert.ok(address !== undefined, `expected the address of an inspector, got ${JSON.stringify(stderr)}`);
    const socket = new WebSocket(address);
    await once(socket, 'open');
    return new Inspector(pid, socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }

  /** What the process holds now. */
  async level(): Promise<ProcessLevel> {
    // What one collection finalizes, the next one frees.
    for (let round = 0; round < 3; round++) await this.#call('HeapProfiler.collectGarbage');
    const heap = await this.#evaluate('process.memoryUsage().heapUsed');
    const timers = await this.#evaluate('process.getActiveResourcesInfo().filter((name) => name === "Timeout").length');
    const entries = (await this.#entries('Map')) + (await this.#entries('Set'));
    return { fileDescriptors: readdirSync(`/proc/${this.#pid}/fd`).length, timers, entries, heap };
  }

  async #entries(type: 'Map' | 'Set'): Promise<number> {
    const { result: prototype } = await this.#call('Runtime.evaluate', { expression: `${type}.prototype` });
    const { objects } = (await this.#call('Runtime.queryObjects', { prototypeObjectId: prototype?.objectId })) as {
      objects: { objectId: string };
    };
    const { result } = await this.#call('Runtime.callFunctionOn', {
      objectId: objects.objectId,
      functionDeclaration: `function () {
        const size = Object.getOwnPropertyDescriptor(${type}.prototype, 'size').get;
        return this.reduce((sum, each) => { try { return sum + size.call(each); } catch { return sum; } }, 0);
      }`,
      returnByValue: true,
    });
    await this.#call('Runtime.releaseObject', { objectId: objects.objectId });
    return Number(result?.value);
  }

  async #evaluate(expression: string): Promise<number> {
    const { result } = await this.#call('Runtime.evaluate', { expression, returnByValue: true });
    return Number(result?.value);
  }

  async #call(method: string, params: object = {}): Promise<NonNullable<Answer['result']>> {
    const id = ++this.#calls;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await promise;
    if (error !== undefined || result === undefined) throw new Error(`${method}: ${error?.message ?? 'no result'}`);
    return result;
  }
}
