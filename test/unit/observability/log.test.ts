import assert from 'node:assert/strict';
import { PassThrough, Writable } from 'node:stream';
import fc from 'fast-check';
import { createLogger } from '../../../src/observability/log.ts';
import type { LoggerOptions, RootLogger } from '../../../src/observability/log.ts';

const NOW = Date.parse('2026-01-02T03:04:05.678Z');

/** A stream that keeps what is written; it is as slow as its buffer is small. */
class Capture extends Writable {
  readonly isTTY: boolean;
  text = '';

  constructor(isTTY = false) {
    super({ highWaterMark: 64 });
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    setImmediate(done);
  }
}

/** What `write` logs, as text. */
async function logged(
  options: Pick<LoggerOptions, 'level' | 'format'> & {
    readonly isTTY?: boolean;
    readonly env?: Record<string, string>;
  },
  write: (logger: RootLogger) => void,
): Promise<string> {
  const stream = new Capture(options.isTTY);
  const logger = createLogger({ env: {}, ...options, stream, now: () => NOW });
  write(logger);
  await logger.close();
  return stream.text;
}

function objects(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('log', () => {
  describe('in JSON', () => {
    const json = { level: 'info', format: 'json' } as const;

    it('writes one object per line, with the keys of zap and then the fields', async () => {
      const text = await logged(json, (logger) => {
        logger.info('Created NetworkPolicy', { namespace: 'a', policy: 'b', count: 2, none: undefined });
        logger.warn('Second\nline');
      });
      assert.equal(
        text,
        '{"level":"info","ts":"2026-01-02T03:04:05.678Z","msg":"Created NetworkPolicy","namespace":"a","policy":"b","count":2}\n' +
          '{"level":"warn","ts":"2026-01-02T03:04:05.678Z","msg":"Second\\nline"}\n',
      );
    });

    it('does not let a field hide the level, the time or the message', async () => {
      const text = await logged(json, (logger) => {
        logger.error('Real', { msg: 'fake', level: 'info', ts: 'never', message: 'kept' });
      });
      assert.deepEqual(objects(text), [
        {
          level: 'error',
          ts: '2026-01-02T03:04:05.678Z',
          msg: 'Real',
          'field.msg': 'fake',
          'field.level': 'info',
          'field.ts': 'never',
          message: 'kept',
        },
      ]);
    });

    it('writes values that JSON does not know', async () => {
      const circular: Record<string, unknown> = { name: 'loop', list: [] };
      circular['self'] = circular;
      const shared = { a: 1 };
      const fields = {
        circular,
        twice: [shared, shared],
        big: 12n,
        nan: Number.NaN,
        map: new Map([['a', 1]]),
        set: new Set(['x']),
        date: new Date(NOW),
        badDate: new Date(Number.NaN),
        nothing: null,
        call: () => 1,
        unreadable: {
          get boom() {
            throw new Error('no');
          },
        },
      };
      const [line] = objects(
        await logged(json, (logger) => {
          logger.info('Values', fields);
        }),
      );
      assert.deepEqual(line, {
        level: 'info',
        ts: '2026-01-02T03:04:05.678Z',
        msg: 'Values',
        circular: { name: 'loop', list: [], self: '[circular]' },
        twice: [{ a: 1 }, { a: 1 }],
        big: '12',
        nan: 'NaN',
        map: { a: 1 },
        set: ['x'],
        date: '2026-01-02T03:04:05.678Z',
        badDate: null,
        nothing: null,
        call: '[function]',
        unreadable: '[unreadable]',
      });
    });

    it('survives fields that cannot be read, and depth without end', async () => {
      const throwing = new Proxy({}, { ownKeys: () => assert.fail('ownKeys'), get: () => assert.fail('get') });
      let deep: Record<string, unknown> = {};
      for (let level = 0; level < 100_000; level++) deep = { deep };
      const lines = objects(
        await logged(json, (logger) => {
          logger.info('Proxy', throwing);
          logger.with(throwing).info('Nested proxy', { throwing });
          logger.info('Deep', deep);
        }),
      );
      assert.deepEqual(
        lines.map(({ msg }) => msg),
        ['Proxy', 'Nested proxy', 'Deep'],
      );
      assert.equal(lines[1]?.['throwing'], '[unreadable]');
      assert.match(JSON.stringify(lines[2]), /\[too deep\]/);
    });

    it('writes any value as one line of valid JSON', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.string(),
          fc.dictionary(fc.string(), fc.anything({ withMap: true })),
          async (msg, fields) => {
            const text = await logged(json, (logger) => {
              logger.info(msg, fields);
            });
            assert.equal(text.indexOf('\n'), text.length - 1);
            assert.equal(objects(text)[0]?.['msg'], msg);
          },
        ),
        { numRuns: 50 },
      );
    });
  });

  describe('of errors', () => {
    const error = new Error('Request failed', { cause: new Error('connect ECONNREFUSED') });

    it('has the message with its causes', async () => {
      const refused = Object.assign(new Error(''), { code: 'ECONNREFUSED' });
      const lines = objects(
        await logged({ level: 'info', format: 'json' }, (logger) => {
          logger.error('Failed', { error });
          logger.error('Failed', { error: new AggregateError([new Error('one'), new Error('two')]) });
          logger.error('Failed', { error: refused });
          logger.error('Failed', { error: new TypeError('') });
          logger.error('Failed', { error: new Error('a: b', { cause: new Error('b') }) });
        }),
      );
      assert.deepEqual(
        lines.map((line) => line['error']),
        ['Request failed: connect ECONNREFUSED', 'one; two', 'ECONNREFUSED', 'TypeError', 'a: b'],
      );
      assert.ok(!('stacktrace' in (lines[0] ?? {})));
    });

    it('has an end when an error is its own cause', async () => {
      const loop = new Error('loop');
      loop.cause = loop;
      const text = await logged({ level: 'info', format: 'json' }, (logger) => {
        logger.error('Failed', { error: loop });
      });
      assert.match(text, /"error":"loop"/);
    });

    it('has the stack at level debug, on lines of its own in text', async () => {
      const [line] = objects(
        await logged({ level: 'debug', format: 'json' }, (logger) => {
          logger.error('Failed', { error });
        }),
      );
      assert.equal(line?.['stacktrace'], error.stack);
      const text = await logged({ level: 'debug', format: 'text' }, (logger) => {
        logger.error('Failed', { error });
      });
      const [first, second, third] = text.split('\n');
      assert.equal(first, '2026-01-02T03:04:05.678Z ERROR Failed  error="Request failed: connect ECONNREFUSED"');
      assert.equal(second, '    Error: Request failed');
      assert.match(third ?? '', /^ {4}at /);
    });
  });

  describe('in text', () => {
    const text = { level: 'debug', format: 'text' } as const;

    it('writes time, level, message and fields', async () => {
      const lines = await logged(text, (logger) => {
        logger.debug('Listed');
        logger.info('Created NetworkPolicy', { namespace: 'a', policy: 'b' });
        logger.warn('Held deletions', { count: 12, reason: 'two words', empty: '', quoted: 'a"b', pair: 'a=b' });
        logger.error('Failed', { object: { a: [1, null] } });
      });
      assert.equal(
        lines,
        [
          '2026-01-02T03:04:05.678Z DEBUG Listed',
          '2026-01-02T03:04:05.678Z INFO  Created NetworkPolicy  namespace=a policy=b',
          '2026-01-02T03:04:05.678Z WARN  Held deletions  count=12 reason="two words" empty="" quoted="a\\"b" pair="a=b"',
          '2026-01-02T03:04:05.678Z ERROR Failed  object={"a":[1,null]}',
          '',
        ].join('\n'),
      );
    });

    it('escapes what could forge a line or drive a terminal', async () => {
      const line = await logged(text, (logger) => {
        logger.info('Bad\nmsg \u001b[2J', {
          value: 'x\r\n2026 ERROR fake',
          'key \u009b': '\u009b31m',
          bell: ['\u007f'],
        });
      });
      assert.equal(
        line,
        '2026-01-02T03:04:05.678Z INFO  Bad\\nmsg \\u001b[2J  value="x\\r\\n2026 ERROR fake" "key \\u009b"="\\u009b31m" bell=["\\u007f"]\n',
      );
    });

    it('has colours only on a terminal without NO_COLOR', async () => {
      const write = (logger: RootLogger) => {
        logger.info('Started', { a: 1 });
      };
      const escape = '\u001b[';
      assert.ok(!(await logged(text, write)).includes(escape));
      assert.ok((await logged({ ...text, isTTY: true }, write)).includes(`${escape}32mINFO`));
      assert.ok((await logged({ ...text, isTTY: true, env: { NO_COLOR: '' } }, write)).includes(escape));
      assert.ok(!(await logged({ ...text, isTTY: true, env: { NO_COLOR: '1' } }, write)).includes(escape));
      assert.ok(!(await logged({ level: 'info', format: 'json', isTTY: true }, write)).includes(escape));
    });
  });

  it('drops lines below its level, and does not read their fields', async () => {
    let reads = 0;
    const fields = {
      get costly() {
        reads++;
        return 'x';
      },
    };
    const lines = objects(
      await logged({ level: 'warn', format: 'json' }, (logger) => {
        logger.debug('Debug', fields);
        logger.with({ a: 1 }).info('Info', fields);
        logger.warn('Warn', fields);
        logger.error('Error');
      }),
    );
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['Warn', 'Error'],
    );
    assert.equal(reads, 1);
  });

  it('adds the fields of with() to each line; those of the line win', async () => {
    const lines = objects(
      await logged({ level: 'info', format: 'json' }, (logger) => {
        const context = { policy: 'p', rule: 'r' };
        const child = logger.with(context);
        context.policy = 'changed';
        child.with({ namespace: 'n' }).info('One', { rule: 'own' });
        child.info('Two');
        logger.info('Three');
      }),
    );
    const base = { level: 'info', ts: '2026-01-02T03:04:05.678Z' };
    assert.deepEqual(lines, [
      { ...base, msg: 'One', policy: 'p', rule: 'own', namespace: 'n' },
      { ...base, msg: 'Two', policy: 'p', rule: 'r' },
      { ...base, msg: 'Three' },
    ]);
  });

  it('writes fields as they are at the time of the call', async () => {
    const fields = { count: 1 };
    const text = await logged({ level: 'info', format: 'json' }, (logger) => {
      logger.info('Counted', fields);
      fields.count = 2;
    });
    assert.match(text, /"count":1/);
  });

  it('hands over every line before close() resolves, in order, and drops later ones', async () => {
    const stream = new Capture();
    const logger = createLogger({ level: 'info', format: 'json', stream });
    for (let line = 0; line < 1000; line++) logger.info('Line', { line });
    await logger.close();
    assert.deepEqual(
      objects(stream.text).map(({ line }) => line),
      Array.from({ length: 1000 }, (_, line) => line),
    );
    logger.info('Late');
    logger.with({}).error('Late');
    await logger.close();
    assert.ok(!stream.text.includes('Late'));
    assert.ok(!stream.writableEnded, 'the stream belongs to the caller');
  });

  it('outlives its stream', async () => {
    const stream = new PassThrough();
    const logger = createLogger({ level: 'info', format: 'json', stream });
    logger.info('Before');
    stream.destroy(new Error('EPIPE'));
    logger.info('After');
    await logger.close();
  });
});
