import assert from 'node:assert/strict';
import {
  APIError,
  ConnectionError,
  isAlreadyExists,
  isConflict,
  isExpired,
  isNamespaceGone,
  isNotFound,
  type StatusBody,
} from '../../../src/kube/errors.ts';

const apiError = (status: number, body?: StatusBody) => new APIError('GET /x', status, body);

const terminating = {
  reason: 'Forbidden',
  details: { causes: [{ reason: 'NamespaceTerminating', field: 'metadata.namespace' }] },
};

const CASES: readonly [what: string, error: unknown, kinds: readonly string[]][] = [
  ['an object that does not exist', apiError(404, { reason: 'NotFound' }), ['isNotFound', 'isNamespaceGone']],
  ['a write based on an old version', apiError(409, { reason: 'Conflict' }), ['isConflict']],
  ['a conflict without a Status', apiError(409), ['isConflict']],
  ['an object that exists', apiError(409, { reason: 'AlreadyExists' }), ['isAlreadyExists']],
  ['an old resourceVersion', apiError(410, { reason: 'Expired' }), ['isExpired']],
  ['an old resourceVersion, as older servers say it', apiError(410, { reason: 'Gone' }), ['isExpired']],
  ['a namespace that is being deleted', apiError(403, terminating), ['isNamespaceGone']],
  ['a lack of rights', apiError(403, { reason: 'Forbidden' }), []],
  ['a quota', apiError(403, { reason: 'Forbidden', details: { causes: [{ reason: 'Quota' }] } }), []],
  ['credentials that are not accepted', apiError(401, { reason: 'Unauthorized' }), []],
  ['a server that is busy', apiError(429, { reason: 'TooManyRequests' }), []],
  ['a server that fails', apiError(500, { reason: 'NotFound' }), []],
  ['a connection that failed', new ConnectionError('GET /x', new Error('404')), []],
  ['another error', Object.assign(new Error('gone'), { status: 404 }), []],
  ['no error', undefined, []],
];

describe('The errors of the API', () => {
  const kinds = { isNotFound, isConflict, isAlreadyExists, isExpired, isNamespaceGone };

  it('keeps the beginning of a long message', () => {
    const { message } = apiError(422, { message: `NetworkPolicy "a" is invalid: [${'spec, '.repeat(100_000)}]` });
    assert.match(message, /^GET \/x: 422 NetworkPolicy "a" is invalid: \[spec, spec, /);
    assert.ok(message.length < 1_100, `${message.length}`);
  });

  for (const [what, error, expected] of CASES) {
    it(`tells ${what} from the others`, () => {
      const actual = Object.entries(kinds).filter(([, holds]) => holds(error));
      assert.deepEqual(
        actual.map(([name]) => name),
        expected,
      );
    });
  }

  it('says which request failed, how, and why', () => {
    assert.equal(apiError(422, { message: 'spec.x: Invalid' }).message, 'GET /x: 422 spec.x: Invalid');
    assert.equal(apiError(409, { reason: 'Conflict' }).message, 'GET /x: 409 Conflict');
    assert.equal(apiError(500).message, 'GET /x: 500 no message');
  });

  it('keeps what the server said', () => {
    const error = new APIError('GET /x', 429, { reason: 'TooManyRequests', details: { retryAfterSeconds: 3 } }, 3_000);
    assert.deepEqual(
      [error.name, error.status, error.reason, error.retryAfterMs, error.details],
      ['APIError', 429, 'TooManyRequests', 3_000, { retryAfterSeconds: 3 }],
    );
    assert.deepEqual(
      [apiError(500).reason, apiError(500).details, apiError(500).retryAfterMs],
      ['', undefined, undefined],
    );
  });

  it('finds a cause among several', () => {
    const causes = [{ reason: 'A' }, { message: 'no reason' }, { reason: 'B' }];
    assert.equal(apiError(422, { details: { causes } }).hasCause('B'), true);
    assert.equal(apiError(422, { details: { causes } }).hasCause('C'), false);
    assert.equal(apiError(422).hasCause('A'), false);
  });

  describe('ConnectionError', () => {
    const coded = (message: string, code: string) => Object.assign(new Error(message), { code });
    const messages: readonly [what: string, cause: unknown, message: string][] = [
      ['the code', coded('other side closed', 'UND_ERR_SOCKET'), 'GET /x: other side closed (UND_ERR_SOCKET)'],
      ['the code once', coded('read ECONNRESET', 'ECONNRESET'), 'GET /x: read ECONNRESET'],
      [
        'the first of several tries',
        new AggregateError([coded('connect ECONNREFUSED ::1:1', 'ECONNREFUSED'), new Error('second')]),
        'GET /x: connect ECONNREFUSED ::1:1',
      ],
      ['what has no code', new Error('aborted'), 'GET /x: aborted'],
      ['what is no error', 'nonsense', 'GET /x: nonsense'],
    ];
    for (const [what, cause, message] of messages) {
      it(`says ${what}, and keeps the cause`, () => {
        const error = new ConnectionError('GET /x', cause);
        assert.equal(error.message, message);
        assert.equal(error.cause, cause);
        assert.equal(error.name, 'ConnectionError');
      });
    }
  });
});
