import type { Options } from 'yargs';
import { UsageError } from './errors.ts';
import type { Terminal } from './terminal.ts';

/** 0: clean, allowed, equal; 1: findings, denied, different. Errors of usage and input are 2. */
export type ExitCode = 0 | 1;

/** One command of kubectl-baseline. */
export interface Command {
  /** Its name and positional arguments, as usage lines write them. */
  readonly usage: string;
  /** What it answers, as a sentence. */
  readonly about: string;
  /** What is to be known of its arguments, below the usage line. */
  readonly details?: string;
  readonly options: Readonly<Record<string, Options>>;
  /** Arguments after the name, with their description. */
  readonly positionals?: Readonly<Record<string, string>>;
  /** Command lines after the program's name, each with what it does. */
  readonly examples: readonly (readonly [commandLine: string, about: string])[];
  readonly run: (flags: Flags, terminal: Terminal) => Promise<ExitCode>;
}

/** What was given on the command line. */
export class Flags {
  readonly #given: Readonly<Record<string, unknown>>;

  constructor(given: Readonly<Record<string, unknown>>) {
    this.#given = given;
  }

  /** The value of a flag or argument, the last one when it was given more than once. */
  text(name: string): string | undefined {
    return this.texts(name).at(-1);
  }

  /** The value of an argument that is always there, or of a flag with a default. */
  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new UsageError(`--${name}: expected a value, got none`);
    return value;
  }

  /** All values of a flag that may be given more than once. */
  texts(name: string): string[] {
    const value = this.#given[name];
    if (value === undefined) return [];
    return (Array.isArray(value) ? (value as unknown[]) : [value]).map(String);
  }

  /** Whether a switch is on. */
  isOn(name: string): boolean {
    const value = this.#given[name];
    return (Array.isArray(value) ? value.at(-1) : value) === true;
  }
}

/** The flag for the format of the output; the first is the default. */
export function outputFlag(...formats: readonly string[]): Readonly<Record<string, Options>> {
  return {
    output: { alias: 'o', type: 'string', choices: formats, default: formats[0], description: 'Format of the output' },
  };
}
