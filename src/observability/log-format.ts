/** Severity of a log line, most detailed first. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How lines are written: `json` for machines, `text` for people. */
export const LOG_FORMATS = ['json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What belongs to a line beside its message. An undefined value is left out. */
export type Fields = Readonly<Record<string, unknown>>;

/** A value that JSON can hold. */
export type PlainValue = string | number | boolean | null | PlainValue[] | { [key: string]: PlainValue };
/** Fields after `plainFields`: safe to write. */
export type PlainFields = Record<string, PlainValue>;

/** One line before it is written. */
export interface LogLine {
  readonly level: LogLevel;
  readonly time: Date;
  readonly msg: string;
  readonly fields: PlainFields;
}

const STACK_FIELD = 'stacktrace';
const MAXIMUM_DEPTH = 8;

/**
 * Copies fields into values that JSON can hold: circular, too deep or unreadable ones become a text in brackets, an
 * Error becomes its message. With `stacks`, the field `stacktrace` (zap's name for it) holds the stack of the last Error. Never throws.
 */
export function plainFields(fields: Fields, stacks: boolean): PlainFields {
  const plain: PlainFields = {};
  for (const key of guarded(() => Object.keys(fields), [])) {
    const value = guarded(() => fields[key], '[unreadable]');
    if (value === undefined) continue;
    plain[key] = plainValue(value, []);
    if (stacks && value instanceof Error && value.stack !== undefined) plain[STACK_FIELD] = value.stack;
  }
  return plain;
}

/**
 * One JSON object: `level`, `ts` (ISO 8601) and `msg`, as zap's production encoder names them, then the fields.
 * A field with one of those three names is written as `field.<name>`, so that it cannot hide the real one.
 */
export function formatJson({ level, time, msg, fields }: LogLine): string {
  const line: PlainFields = { level, ts: time.toISOString(), msg };
  for (const [key, value] of Object.entries(fields)) line[Object.hasOwn(line, key) ? `field.${key}` : key] = value;
  return JSON.stringify(line);
}

/**
 * One line for people: time, level, message, then `key=value` pairs, quoted when needed. Control characters are
 * escaped, so that a value can neither forge a line nor drive a terminal. Only a stack takes further lines.
 */
export function formatText({ level, time, msg, fields }: LogLine, colours: boolean): string {
  const paint = (code: string, text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  const { [STACK_FIELD]: stack, ...rest } = fields;
  const pairs = Object.entries(rest).map(([key, value]) => `${paint('2', `${textOf(key)}=`)}${textOf(value)}`);
  const head = `${time.toISOString()} ${paint(COLOURS[level], level.toUpperCase().padEnd(5))} ${escapeControls(msg)}`;
  const line = pairs.length === 0 ? head : `${head}  ${pairs.join(' ')}`;
  if (typeof stack !== 'string') return line;
  return [line, ...stack.split('\n').map((frame) => `    ${escapeControls(frame.trim())}`)].join('\n');
}

const COLOURS: Record<LogLevel, string> = { debug: '90', info: '32', warn: '33', error: '31' };

/**
 * The message of an error with those of its causes, as `outer: inner`. Errors of Node that have no message of their
 * own (an AggregateError of connection attempts) are told by their parts, code or name.
 */
export function errorText(error: Error, depth = 0): string {
  const own = ownText(error, depth);
  if (!(error.cause instanceof Error) || depth >= MAXIMUM_DEPTH) return own;
  const cause = errorText(error.cause, depth + 1);
  return own.includes(cause) ? own : `${own}: ${cause}`;
}

function ownText(error: Error, depth: number): string {
  if (error.message !== '') return error.message;
  if (error instanceof AggregateError && depth < MAXIMUM_DEPTH) {
    const parts = error.errors.map((part: unknown) =>
      part instanceof Error ? errorText(part, depth + 1) : String(part),
    );
    if (parts.length > 0) return parts.join('; ');
  }
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

function plainValue(value: unknown, ancestors: readonly object[]): PlainValue {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'object':
      if (value === null) return null;
      if (ancestors.includes(value)) return '[circular]';
      if (ancestors.length >= MAXIMUM_DEPTH) return '[too deep]';
      return guarded(() => plainObject(value, [...ancestors, value]), '[unreadable]');
    case 'function':
      return '[function]';
    case 'undefined':
    case 'bigint':
    case 'symbol':
      return String(value);
  }
}

function plainObject(value: object, ancestors: readonly object[]): PlainValue {
  if (value instanceof Error) return errorText(value);
  if (hasToJSON(value)) return plainValue(value.toJSON(), ancestors);
  if (Array.isArray(value) || value instanceof Set) return Array.from(value, (item) => plainValue(item, ancestors));
  const entries: [unknown, unknown][] = value instanceof Map ? [...value.entries()] : Object.entries(value);
  return Object.fromEntries(
    entries.filter(([, item]) => item !== undefined).map(([key, item]) => [String(key), plainValue(item, ancestors)]),
  );
}

function hasToJSON(value: object): value is { toJSON(): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

/** A getter, a proxy or a toJSON may throw; a log line must not fail for it. */
function guarded<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

function textOf(value: PlainValue): string {
  if (typeof value !== 'string') return escapeControls(JSON.stringify(value));
  return /^[^\s"=\p{C}]+$/u.test(value) ? value : escapeControls(JSON.stringify(value));
}

function escapeControls(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => {
    if (character === '\n') return '\\n';
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
