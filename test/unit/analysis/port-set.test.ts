import assert from 'node:assert/strict';
import { PortSet, PROTOCOLS } from '../../../src/analysis/port-set.ts';

function union(...sets: PortSet[]): PortSet {
  return sets.reduce((all, set) => all.union(set), PortSet.empty);
}

describe('PortSet', () => {
  it('writes ranges merged and sorted by protocol and port', () => {
    const set = union(
      PortSet.range('UDP', 53),
      PortSet.range('TCP', 443),
      PortSet.range('TCP', 80, 85),
      PortSet.range('TCP', 86, 90),
      PortSet.range('SCTP', 65_535),
      PortSet.range('TCP', 1),
    );
    assert.deepEqual(JSON.parse(JSON.stringify(set)), [
      { protocol: 'SCTP', port: 65_535 },
      { protocol: 'TCP', port: 1 },
      { protocol: 'TCP', port: 80, endPort: 90 },
      { protocol: 'TCP', port: 443 },
      { protocol: 'UDP', port: 53 },
    ]);
    assert.equal(set.toString(), '65535/SCTP, 1/TCP, 80-90/TCP, 443/TCP, 53/UDP');
  });

  it('is all only with every port of every protocol', () => {
    const all = union(...PROTOCOLS.map((protocol) => PortSet.protocol(protocol)));
    assert.ok(all.isAll);
    assert.equal(JSON.stringify(all), '"all"');
    assert.equal(all.toString(), 'all ports');
    const almost = all.subtract(PortSet.range('UDP', 65_535));
    assert.ok(!almost.isAll);
    assert.equal(almost.toString(), 'all SCTP ports, all TCP ports, 1-65534/UDP');
  });

  it('does not join the last port of a protocol with the first of the next', () => {
    const set = union(PortSet.range('SCTP', 65_535), PortSet.range('TCP', 1));
    assert.equal(set.ranges().length, 2);
  });

  it('refuses what is no range of ports', () => {
    for (const [first, last] of [
      [0, 1],
      [1, 65_536],
      [2, 1],
      [1.5, 2],
      [NaN, NaN],
    ] as const) {
      assert.throws(() => PortSet.range('TCP', first, last), /^RangeError: expected ports from 1 to 65535/);
    }
  });
});
