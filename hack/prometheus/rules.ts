/**
 * Prints the alerts of config/prometheus as a file of rules, for Prometheus without the Prometheus Operator, and for
 * promtool.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';

const RULE = join(import.meta.dirname, '../../config/prometheus/prometheus_rule.yaml');

const { spec } = parse(await readFile(RULE, 'utf8')) as { spec: { groups: object[] } };
process.stdout.write(stringify({ groups: spec.groups }, { lineWidth: 0 }));
