import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatBindAddress, parseBindAddress } from '../../../src/observability/bind-address.ts';

describe('bind address', () => {
  it('is written as it is read', () => {
    const host = fc.oneof(fc.constant(undefined), fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.integer({ min: 0, max: 65_535 }), (host, port) => {
        assert.deepEqual(parseBindAddress(formatBindAddress({ host, port })), { host, port });
      }),
    );
  });

  it('puts an IPv6 address in brackets', () => {
    assert.equal(formatBindAddress({ host: '::1', port: 80 }), '[::1]:80');
    assert.equal(formatBindAddress({ host: undefined, port: 80 }), ':80');
  });
});
