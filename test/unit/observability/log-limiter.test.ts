import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { LogLimiter } from '../../../src/observability/log-limiter.ts';
import { createLogger } from '../../../src/observability/log.ts';

describe('LogLimiter', () => {
  let now: number;
  let limiter: LogLimiter;
  let lines: () => Promise<string[]>;

  beforeEach(() => {
    now = 0;
    const stream = new PassThrough();
    const logger = createLogger({ level: 'info', format: 'text', stream });
    limiter = new LogLimiter(logger, { now: () => now, capacity: 2 });
    lines = async () => {
      await logger.close();
      stream.end();
      const text = (await stream.toArray()).join('');
      // Without the time.
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.slice(25));
    };
  });

  it('writes a line once per interval, and then says how many were not written', async () => {
    for (const time of [0, 1, 999, 1000, 2500]) {
      now = time;
      limiter.every('k', 1000, 'warn', 'Watch failed', { time });
    }
    assert.deepEqual(await lines(), [
      'WARN  Watch failed  time=0',
      'WARN  Watch failed  time=1000 suppressed=2',
      'WARN  Watch failed  time=2500',
    ]);
  });

  it('counts each key on its own', async () => {
    limiter.every('a', 1000, 'info', 'A');
    limiter.every('b', 1000, 'error', 'B');
    limiter.every('a', 1000, 'info', 'A');
    assert.deepEqual(await lines(), ['INFO  A', 'ERROR B']);
  });

  it('forgets the oldest key when it is full', async () => {
    for (const key of ['a', 'b', 'c', 'c', 'b', 'a']) limiter.every(key, 1000, 'info', key);
    assert.deepEqual(await lines(), ['INFO  a', 'INFO  b', 'INFO  c', 'INFO  a']);
  });

  it('remembers a key by its last line, not its first', async () => {
    limiter.every('a', 10, 'info', 'a');
    limiter.every('b', 10, 'info', 'b');
    now = 10;
    limiter.every('a', 10, 'info', 'a');
    limiter.every('c', 10, 'info', 'c');
    limiter.every('a', 10, 'info', 'a');
    assert.deepEqual(await lines(), ['INFO  a', 'INFO  b', 'INFO  a', 'INFO  c']);
  });

  it('forgets nothing for a key that it has', async () => {
    limiter.every('a', 1000, 'info', 'a');
    limiter.every('b', 10, 'info', 'b');
    now = 10;
    limiter.every('b', 10, 'info', 'b');
    limiter.every('a', 1000, 'info', 'a');
    assert.deepEqual(await lines(), ['INFO  a', 'INFO  b', 'INFO  b']);
  });
});
