import assert from 'node:assert/strict';
import { formatRange, parseAddress, parseCIDR, partition } from '../../../src/analysis/address.ts';

describe('addresses', () => {
  const ranges: readonly (readonly [cidr: string, range: string])[] = [
    ['10.0.0.0/8', '10.0.0.0-10.255.255.255'],
    ['10.1.2.3/8', '10.0.0.0-10.255.255.255'],
    ['0.0.0.0/0', '0.0.0.0-255.255.255.255'],
    ['255.255.255.255/32', '255.255.255.255-255.255.255.255'],
    ['2001:db8::/33', '2001:db8::-2001:db8:7fff:ffff:ffff:ffff:ffff:ffff'],
    ['::/0', '::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ];
  for (const [cidr, range] of ranges) {
    it(`reads ${cidr} as ${range}`, () => {
      assert.equal(formatRange(parseCIDR(cidr)), range);
    });
  }

  for (const text of [
    '',
    'x',
    '10.0.0.0',
    '10.0.0/8',
    '010.0.0.0/8',
    '0x0a.0.0.0/8',
    '10.0.0.0/33',
    '::/129',
    'fe80::%eth0/64',
  ]) {
    it(`refuses ${JSON.stringify(text)} as a CIDR`, () => {
      assert.throws(() => parseCIDR(text), new RangeError(`expected a CIDR, found ${JSON.stringify(text)}`));
    });
  }

  for (const text of ['', '10.0.0.0/8', '10.0.0', '256.0.0.1', '1:2', '::g']) {
    it(`refuses ${JSON.stringify(text)} as an address`, () => {
      assert.throws(() => parseAddress(text), new RangeError(`expected an IP address, found ${JSON.stringify(text)}`));
    });
  }

  it('cuts the address space at each range, and IPv6 only where it is used', () => {
    assert.deepEqual(partition([]).map(formatRange), ['0.0.0.0-255.255.255.255']);
    assert.deepEqual(partition(['255.0.0.0/8', '0.0.0.0/8', '0.1.0.0/16'].map(parseCIDR)).map(formatRange), [
      '0.0.0.0-0.0.255.255',
      '0.1.0.0-0.1.255.255',
      '0.2.0.0-0.255.255.255',
      '1.0.0.0-254.255.255.255',
      '255.0.0.0-255.255.255.255',
    ]);
    assert.deepEqual(partition([parseCIDR('8000::/1')]).map(formatRange), [
      '0.0.0.0-255.255.255.255',
      '::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
      '8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    ]);
  });
});
