import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { createLogger } from '../../../src/observability/log.ts';
import { MetricsAccess, type AccessVerdict } from '../../../src/observability/metrics-access.ts';

/** A MetricsAccess whose reviews the test answers, with a clock of its own. */
class Subject {
  readonly asked: string[] = [];
  readonly access: MetricsAccess;
  answer: (token: string) => AccessVerdict | Promise<AccessVerdict> = () => 'allowed';
  now = 0;
  log = '';

  constructor() {
    const stream = new PassThrough().setEncoding('utf8').on('data', (text: string) => (this.log += text));
    this.access = new MetricsAccess({
      review: async (token) => {
        this.asked.push(token);
        return this.answer(token);
      },
      logger: createLogger({ level: 'debug', format: 'json', stream }),
      monotonic: () => this.now,
    });
  }

  async decide(token: string): Promise<string> {
    return this.access.decide(`Bearer ${token}`);
  }
}

describe('Access to metrics', () => {
  it('is told by the verdict on the token, whatever the case of the scheme', async () => {
    const subject = new Subject();
    for (const verdict of ['allowed', 'forbidden', 'unauthenticated'] as const) {
      subject.answer = () => verdict;
      assert.equal(await subject.access.decide(`bEARER   ${verdict}-a.b_c~d+e/f== `), verdict);
    }
    assert.deepEqual(subject.asked, [
      'allowed-a.b_c~d+e/f==',
      'forbidden-a.b_c~d+e/f==',
      'unauthenticated-a.b_c~d+e/f==',
    ]);
  });

  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic dXNlcjpwYXNz',
    'token',
    'Bearer a b',
    'Bearer a,b',
  ]) {
    it(`is refused without asking for ${JSON.stringify(header)}`, async () => {
      const subject = new Subject();
      assert.equal(await subject.access.decide(header), 'no-token');
      assert.deepEqual(subject.asked, []);
    });
  }

  it('is remembered for a minute when allowed, and for ten seconds when not', async () => {
    for (const [verdict, milliseconds] of [
      ['allowed', 60_000],
      ['forbidden', 10_000],
      ['unauthenticated', 10_000],
    ] as const) {
      const subject = new Subject();
      subject.answer = () => verdict;
      await subject.decide('token');
      subject.now = milliseconds - 1;
      assert.equal(await subject.decide('token'), verdict);
      assert.equal(subject.asked.length, 1, verdict);
      subject.answer = () => (verdict === 'allowed' ? 'forbidden' : 'allowed');
      subject.now = milliseconds;
      assert.notEqual(await subject.decide('token'), verdict);
      assert.equal(subject.asked.length, 2, verdict);
      // The new verdict has taken the place of the old one.
      assert.notEqual(await subject.decide('token'), verdict);
    }
  });

  it('counts from when it was asked for, not from when the answer came', async () => {
    const subject = new Subject();
    subject.answer = () => {
      subject.now = 59_999;
      return 'allowed';
    };
    await subject.decide('token');
    subject.now = 60_000;
    await subject.decide('token');
    assert.equal(subject.asked.length, 2);
  });

  it('is asked for once by many requests of one token, and for each of two', async () => {
    const subject = new Subject();
    const { promise, resolve } = Promise.withResolvers<AccessVerdict>();
    subject.answer = () => promise;
    const decisions = [...Array<string>(50).fill('one'), 'two'].map((token) => subject.decide(token));
    resolve('allowed');
    assert.deepEqual(new Set(await Promise.all(decisions)), new Set(['allowed']));
    assert.deepEqual(subject.asked, ['one', 'two']);
  });

  it('is unknown while nobody can be asked, but to those who were allowed a moment ago; that is not remembered', async () => {
    const subject = new Subject();
    await subject.decide('good');
    subject.answer = () => Promise.reject(new Error('connection refused'));
    assert.equal(await subject.decide('good'), 'allowed');
    assert.equal(await subject.decide('new'), 'unknown');
    subject.now = 60_000;
    assert.equal(await subject.decide('good'), 'unknown');
    subject.answer = () => 'allowed';
    assert.equal(await subject.decide('new'), 'allowed');
  });

  it('fails into the log the first, second, fourth, eighth … time, without a token', async () => {
    const subject = new Subject();
    subject.answer = () => Promise.reject(new Error('connection refused'));
    for (let count = 0; count < 9; count++) await subject.decide('s3cret');
    const lines = subject.log.trim().split('\n');
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { failures: number }).failures),
      [1, 2, 4, 8],
    );
    assert.match(subject.log, /connection refused/);
    assert.doesNotMatch(subject.log, /s3cret/);
  });

  it('is not asked for by more than sixteen new tokens at a time; those that were allowed before always are', async () => {
    const subject = new Subject();
    await subject.decide('good');
    subject.now = 60_000;
    const { promise, resolve } = Promise.withResolvers<AccessVerdict>();
    subject.answer = (token) => (token === 'good' ? 'allowed' : promise);
    const rubbish = Array.from({ length: 20 }, (_, index) => subject.decide(`rubbish-${index}`));
    assert.equal(await subject.decide('good'), 'allowed');
    resolve('unauthenticated');
    const decisions = await Promise.all(rubbish);
    assert.equal(decisions.filter((decision) => decision === 'unauthenticated').length, 16);
    assert.equal(decisions.filter((decision) => decision === 'unknown').length, 4);
    assert.equal(await subject.decide('rubbish-19'), 'unauthenticated');
  });

  it('of a good token outlives a flood of bad ones, which are remembered by the thousand at most', async () => {
    const subject = new Subject();
    subject.answer = (token) => (token === 'good' ? 'allowed' : 'unauthenticated');
    await subject.decide('good');
    for (let count = 0; count < 1_001; count++) await subject.decide(`rubbish-${count}`);
    subject.asked.length = 0;
    await subject.decide('good');
    await subject.decide('rubbish-1');
    assert.deepEqual(subject.asked, []);
    await subject.decide('rubbish-0');
    assert.deepEqual(subject.asked, ['rubbish-0']);
  });
});
