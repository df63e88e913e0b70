/** A protocol that NetworkPolicies know. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** A range of ports of a protocol; `endPort` is absent when the range has one port. */
export interface PortRange {
  readonly protocol: Protocol;
  readonly port: number;
  readonly endPort?: number;
}

/** Ports as outputs write them: every port of every protocol is `all`. */
export type PortsJSON = 'all' | PortRange[];

/** In the order of outputs, which is that of the alphabet. */
export const PROTOCOLS: readonly Protocol[] = ['SCTP', 'TCP', 'UDP'];
/** The highest port number. */
export const MAX_PORT = 65_535;
/** All protocols lie on one line of numbers. Port 0 does not exist, so ranges of two protocols never touch. */
const STRIDE = MAX_PORT + 1;

/** A set of (protocol, port). Immutable; two sets are equal when their keys are. */
export class PortSet {
  static readonly empty = new PortSet([]);
  static readonly all = new PortSet(PROTOCOLS.flatMap((_, index) => [index * STRIDE + 1, index * STRIDE + MAX_PORT]));

  /** First and last numbers of the ranges, in turns: sorted, disjoint, and never adjacent. */
  readonly #bounds: readonly number[];
  #key: string | undefined;

  private constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Text that is the same for equal sets, and differs for others. */
  get key(): string {
    return (this.#key ??= this.#bounds.join(','));
  }

  /** A number that is the same for equal sets, and mostly differs for others. */
  get hash(): number {
    let hash = 0;
    for (const bound of this.#bounds) hash = Math.imul(hash ^ bound, 0x01000193) + 1;
    return hash;
  }

  /** Every port of a protocol. */
  static protocol(protocol: Protocol): PortSet {
    return PortSet.range(protocol, 1, MAX_PORT);
  }

  /** The ports from `first` to `last`, both included. Throws RangeError when that is no range of ports. */
  static range(protocol: Protocol, first: number, last = first): PortSet {
    if (!Number.isInteger(first) || !Number.isInteger(last) || first < 1 || last > MAX_PORT || last < first) {
      throw new RangeError(
        first === last
          ? `expected a port from 1 to ${MAX_PORT}, found ${first}`
          : `expected ports from 1 to ${MAX_PORT} in ascending order, found ${first} to ${last}`,
      );
    }
    const offset = PROTOCOLS.indexOf(protocol) * STRIDE;
    return new PortSet([offset + first, offset + last]);
  }

  get isEmpty(): boolean {
    return this.#bounds.length === 0;
  }

  get isAll(): boolean {
    return this.equals(PortSet.all);
  }

  equals(other: PortSet): boolean {
    const [ours, theirs] = [this.#bounds, other.#bounds];
    return ours.length === theirs.length && ours.every((bound, index) => bound === theirs[index]);
  }

  has(protocol: Protocol, port: number): boolean {
    return !this.intersect(PortSet.range(protocol, port)).isEmpty;
  }

  /** Whether every port of `other` is in this set. */
  includes(other: PortSet): boolean {
    return other.subtract(this).isEmpty;
  }

  union(other: PortSet): PortSet {
    return this.#combine(other, (inThis, inOther) => inThis || inOther);
  }

  intersect(other: PortSet): PortSet {
    return this.#combine(other, (inThis, inOther) => inThis && inOther);
  }

  subtract(other: PortSet): PortSet {
    return this.#combine(other, (inThis, inOther) => inThis && !inOther);
  }

  /** Sweeps over the ends of both sets' ranges, and keeps what `isKept` says. */
  #combine(other: PortSet, isKept: (inThis: boolean, inOther: boolean) => boolean): PortSet {
    const ours = this.#bounds;
    const theirs = other.#bounds;
    const result: number[] = [];
    let [i, j] = [0, 0];
    while (i < ours.length || j < theirs.length) {
      // An odd index is inside a range; a range ends before the number that follows its last one.
      const nextOurs = (ours[i] ?? Infinity) + (i % 2);
      const nextTheirs = (theirs[j] ?? Infinity) + (j % 2);
      const at = Math.min(nextOurs, nextTheirs);
      if (nextOurs === at) i++;
      if (nextTheirs === at) j++;
      const wasKept = result.length % 2 === 1;
      if (isKept(i % 2 === 1, j % 2 === 1) !== wasKept) result.push(wasKept ? at - 1 : at);
    }
    return new PortSet(result);
  }

  /** The ranges, sorted by protocol and port. */
  ranges(): PortRange[] {
    const ranges: PortRange[] = [];
    for (let i = 0; i < this.#bounds.length; i += 2) {
      const [first = 0, last = 0] = this.#bounds.slice(i, i + 2);
      const protocol = PROTOCOLS[Math.floor(first / STRIDE)] ?? 'TCP';
      const port = first % STRIDE;
      ranges.push({ protocol, port, ...(last > first && { endPort: last % STRIDE }) });
    }
    return ranges;
  }

  toJSON(): PortsJSON {
    return this.isAll ? 'all' : this.ranges();
  }

  /** For sentences: `all ports`, `no port`, or such as `8080/TCP, 9000-9100/TCP, all UDP ports`. */
  toString(): string {
    if (this.isAll) return 'all ports';
    if (this.isEmpty) return 'no port';
    return this.ranges()
      .map(({ protocol, port, endPort }) => {
        if (port === 1 && endPort === MAX_PORT) return `all ${protocol} ports`;
        return endPort === undefined ? `${port}/${protocol}` : `${port}-${endPort}/${protocol}`;
      })
      .join(', ');
  }
}
