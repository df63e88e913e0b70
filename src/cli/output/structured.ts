import type { Output } from '../terminal.ts';
import { toYAML } from './yaml.ts';

/** Formats for programs. */
export type StructuredFormat = 'json' | 'yaml';

/** Whether a format is one for programs, which {@link writeStructured} writes. */
export function isStructured(format: string): format is StructuredFormat {
  return format === 'json' || format === 'yaml';
}

/** Writes a value as indented JSON, or as YAML of the same. */
export function writeStructured(output: Output, format: StructuredFormat, value: unknown): void {
  const json = JSON.stringify(value, null, 2);
  // By way of JSON, as values have forms of their own for it.
  output.write(format === 'json' ? `${json}\n` : toYAML(JSON.parse(json)));
}
