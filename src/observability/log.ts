import { Writable } from 'node:stream';
import winston from 'winston';
import { LOG_LEVELS, formatJson, formatText, plainFields } from './log-format.ts';
import type { Fields, LogFormat, LogLevel, PlainFields } from './log-format.ts';

export type { Fields, LogFormat, LogLevel } from './log-format.ts';

/**
 * Writes log lines. A message starts with a capital letter, has no full stop, and holds no values: those are fields
 * (namespace, policy, rule, reason, error, ...). No method ever throws.
 */
export interface Logger {
  debug(msg: string, fields?: Fields): void;
  info(msg: string, fields?: Fields): void;
  warn(msg: string, fields?: Fields): void;
  error(msg: string, fields?: Fields): void;
  /** A logger that adds these fields, as they are now, to each of its lines. */
  with(fields: Fields): Logger;
}

/** The logger that owns the stream. */
export interface RootLogger extends Logger {
  /** Resolves when every line so far is handed to the system. Later lines, also of derived loggers, are dropped. */
  close(): Promise<void>;
}

/** What `createLogger` needs; all but level and format have the defaults of a process. */
export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Standard output by default. Stays open after `close`. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** NO_COLOR is read from it (https://no-color.org). */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Wall clock, in milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Makes the root logger. Colours appear only in text on a terminal, when NO_COLOR is unset or empty. Stacks of errors
 * are written at level debug only. An error of the stream (a closed pipe) loses lines, but never stops the process:
 * policies matter more than their log.
 */
export function createLogger(options: LoggerOptions): RootLogger {
  const { level, format, stream = process.stdout, env = process.env, now = Date.now } = options;
  const colours = stream.isTTY === true && (env['NO_COLOR'] ?? '') === '';
  stream.on('error', () => undefined);
  // Lines come in rendered: a field that changes while winston buffers the line must not change the line.
  const output = winston.createLogger({ level: 'debug', format: winston.format((line) => line)() });
  output.pipe(
    new Writable({
      objectMode: true,
      write({ message }: { message: string }, _encoding, done) {
        stream.write(`${message}\n`);
        done();
      },
    }),
  );
  const stacks = level === 'debug';
  let closing: Promise<void> | undefined;

  const sink: Sink = {
    threshold: LOG_LEVELS.indexOf(level),
    plain: (fields) => plainFields(fields, stacks),
    write(severity, msg, fields) {
      if (closing !== undefined) return;
      const line = { level: severity, time: new Date(now()), msg, fields };
      output.log({ level: severity, message: format === 'json' ? formatJson(line) : formatText(line, colours) });
    },
  };

  async function flush(): Promise<void> {
    await new Promise<void>((resolve) => output.once('finish', resolve).end());
    // A write calls back after all earlier ones; on a stream that is gone it calls back with an error.
    await new Promise<void>((resolve) => {
      stream.write('', () => {
        resolve();
      });
    });
  }

  return Object.assign(new ThresholdLogger(sink, {}), { close: () => (closing ??= flush()) });
}

interface Sink {
  readonly threshold: number;
  plain(fields: Fields): PlainFields;
  write(level: LogLevel, msg: string, fields: PlainFields): void;
}

/** Drops what is below the level before any work is done for it. */
class ThresholdLogger implements Logger {
  readonly #sink: Sink;
  readonly #context: PlainFields;

  constructor(sink: Sink, context: PlainFields) {
    this.#sink = sink;
    this.#context = context;
  }

  debug(msg: string, fields?: Fields): void {
    this.#log('debug', msg, fields);
  }

  info(msg: string, fields?: Fields): void {
    this.#log('info', msg, fields);
  }

  warn(msg: string, fields?: Fields): void {
    this.#log('warn', msg, fields);
  }

  error(msg: string, fields?: Fields): void {
    this.#log('error', msg, fields);
  }

  with(fields: Fields): Logger {
    return new ThresholdLogger(this.#sink, { ...this.#context, ...this.#sink.plain(fields) });
  }

  #log(level: LogLevel, msg: string, fields: Fields | undefined): void {
    if (LOG_LEVELS.indexOf(level) < this.#sink.threshold) return;
    const own = fields === undefined ? {} : this.#sink.plain(fields);
    this.#sink.write(level, msg, { ...this.#context, ...own });
  }
}
