import { stringify } from 'yaml';

/** A value as YAML that kubectl reads the same: words such as `yes`, which YAML 1.1 has for booleans, are quoted. */
export function toYAML(value: unknown): string {
  return stringify(value, { compat: 'yaml-1.1', lineWidth: 0 });
}
