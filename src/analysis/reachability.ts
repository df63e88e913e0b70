import { BitSet } from './bit-set.ts';
import { classify, type Classes } from './classes.ts';
import { resolvePorts, type Endpoint } from './evaluate.ts';
import type { Direction, Policy, Rule, RulePorts } from './policy.ts';
import { PortSet } from './port-set.ts';

/** Port sets by number: equal sets have equal numbers. */
class PortTable {
  readonly #sets: PortSet[] = [];
  readonly #numbers = new Map<number, number[]>();

  number(set: PortSet): number {
    const { hash } = set;
    const alike = this.#numbers.get(hash);
    const known = alike?.find((number) => this.set(number).equals(set));
    if (known !== undefined) return known;
    const number = this.#sets.push(set) - 1;
    if (alike === undefined) this.#numbers.set(hash, [number]);
    else alike.push(number);
    return number;
  }

  set(number: number): PortSet {
    return this.#sets[number] ?? PortSet.empty;
  }

  /** What joins sets with one of them; what was once joined is not joined again. */
  union(one: number): (other: number) => number {
    if (one === ALL) return () => ALL;
    return this.#remember((other) => (other === ALL ? ALL : this.number(this.set(one).union(this.set(other)))));
  }

  /** What intersects sets with one of them, likewise. */
  intersect(one: number): (other: number) => number {
    if (one === NONE) return () => NONE;
    if (one === ALL) return (other) => other;
    return this.#remember((other) => (other === ALL ? one : this.number(this.set(one).intersect(this.set(other)))));
  }

  #remember(join: (other: number) => number): (other: number) => number {
    const known = new Map<number, number>();
    return (other) => {
      let result = known.get(other);
      if (result === undefined) known.set(other, (result = join(other)));
      return result;
    };
  }
}

/** Numbers that every table begins with. */
const NONE = 0;
const ALL = 1;

/** The ports on which the policies of one class let traffic of each class through; absent: all of all. */
type Row = Uint32Array | undefined;

/**
 * What policies allow between any two of many endpoints. The work is done for classes of endpoints, and for sets of
 * policies that select the same ones, so that a question takes no more than two look-ups.
 */
export class Reachability {
  readonly #table = new PortTable();
  readonly #classes: Classes;
  readonly #rows: Readonly<Record<Direction, readonly Row[]>>;
  /** By the number of the egress ports. */
  readonly #intersections: ((other: number) => number)[] = [];
  /** By protocol and name, the classes on which a port's name resolves to a set of ports. */
  readonly #named = new Map<string, ReadonlyMap<number, BitSet>>();

  constructor(policies: readonly Policy[], endpoints: readonly Endpoint[]) {
    this.#table.number(PortSet.empty);
    this.#table.number(PortSet.all);
    this.#classes = classify(policies, endpoints);
    this.#rows = { Ingress: this.#makeRows(policies, 'Ingress'), Egress: this.#makeRows(policies, 'Egress') };
  }

  /** The class of an endpoint, by its index in the list that was given. */
  classOf(endpoint: number): number {
    return this.#classes.classOf[endpoint] ?? 0;
  }

  /** The ports of the destination's class that the source's class may connect to; see allowedPorts. */
  ports(sourceClass: number, destinationClass: number): PortSet {
    return this.#table.set(this.number(sourceClass, destinationClass));
  }

  /** The same as a number, which is the same for equal sets of ports and 0 for none. */
  number(sourceClass: number, destinationClass: number): number {
    const egress = this.#rows.Egress[sourceClass];
    const ingress = this.#rows.Ingress[destinationClass];
    const outgoing = egress === undefined ? ALL : (egress[destinationClass] ?? NONE);
    const incoming = ingress === undefined ? ALL : (ingress[sourceClass] ?? NONE);
    if (outgoing === NONE || incoming === NONE) return NONE;
    return (this.#intersections[outgoing] ??= this.#table.intersect(outgoing))(incoming);
  }

  #makeRows(policies: readonly Policy[], direction: Direction): Row[] {
    const { representatives, matching } = this.#classes;
    const isolating = policies.flatMap(({ rules, selector }) => {
      const ofDirection = rules[direction];
      return ofDirection === undefined ? [] : [{ rules: ofDirection, selector }];
    });
    const compiled = isolating.map(({ rules }) => rules.map((rule) => this.#compileRule(rule)));
    const selecting: number[][] = representatives.map(() => []);
    isolating.forEach(({ selector }, index) => {
      matching(selector).forEach((one) => selecting[one]?.push(index));
    });
    const shared = new Map<string, Row>();
    return selecting.map((indices, one) => {
      if (indices.length === 0) return undefined;
      const rules = indices.flatMap((index) => compiled[index] ?? []);
      // Names of ports are those of the destination, which here is the class itself.
      const isOwn = direction === 'Ingress' && rules.some(({ ports }) => ports.names.length > 0);
      const key = isOwn ? `class ${one}` : indices.join(',');
      let row = shared.get(key);
      if (row === undefined) shared.set(key, (row = this.#makeRow(rules, direction, one)));
      return row;
    });
  }

  #compileRule({ peers, ports }: Rule): CompiledRule {
    const { representatives, matching } = this.#classes;
    const classes = new BitSet(representatives.length);
    if (peers === undefined) for (let one = 0; one < representatives.length; one++) classes.add(one);
    else for (const peer of peers) classes.addAll(matching(peer));
    return { classes, ports };
  }

  #makeRow(rules: readonly CompiledRule[], direction: Direction, subject: number): Uint32Array {
    const size = this.#classes.representatives.length;
    const byPorts = new Map<number, BitSet>();
    const bitsOf = (ports: number): BitSet => {
      let bits = byPorts.get(ports);
      if (bits === undefined) byPorts.set(ports, (bits = new BitSet(size)));
      return bits;
    };
    for (const { classes, ports } of rules) {
      bitsOf(this.#table.number(ports.numbers)).addAll(classes);
      for (const name of ports.names) {
        for (const [resolved, destinations] of this.#resolve(name)) {
          if (direction === 'Egress') bitsOf(resolved).addCommon(classes, destinations);
          else if (destinations.has(subject)) bitsOf(resolved).addAll(classes);
        }
      }
    }
    const row = new Uint32Array(size);
    for (const [ports, classes] of byPorts) {
      const join = this.#table.union(ports);
      classes.forEach((peer) => {
        row[peer] = join(row[peer] ?? NONE);
      });
    }
    return row;
  }

  /** The sets of ports that a name stands for, each with the classes where it does. */
  #resolve(name: RulePorts['names'][number]): ReadonlyMap<number, BitSet> {
    const key = `${name.protocol} ${name.name}`;
    let resolved = this.#named.get(key);
    if (resolved === undefined) {
      const { representatives } = this.#classes;
      const ports: RulePorts = { numbers: PortSet.empty, names: [name], key };
      const byPorts = Map.groupBy(representatives.keys(), (one) => {
        const representative = representatives[one];
        return representative === undefined ? NONE : this.#table.number(resolvePorts(ports, representative));
      });
      byPorts.delete(NONE);
      const entries = [...byPorts].map(([number, classes]): [number, BitSet] => {
        const bits = new BitSet(representatives.length);
        for (const one of classes) bits.add(one);
        return [number, bits];
      });
      this.#named.set(key, (resolved = new Map(entries)));
    }
    return resolved;
  }
}

/** A rule with the classes of its peers. */
interface CompiledRule {
  readonly classes: BitSet;
  readonly ports: RulePorts;
}
