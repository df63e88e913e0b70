import { once } from 'node:events';
import { styleText } from 'node:util';

/** Where a command writes to: a stream of the process, or one that a test reads. */
export interface Output extends NodeJS.WritableStream {
  /** Whether a person sees it at once. */
  readonly isTTY?: boolean;
}

/** The surroundings of a command: what it reads and writes beside files and the cluster. */
export interface Terminal {
  readonly stdin: AsyncIterable<string | Uint8Array>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A colour of text, or an emphasis. */
export type Style = 'green' | 'red' | 'yellow' | 'bold' | 'dim';
/** Gives text a style, or leaves it plain. */
export type Paint = (style: Style, text: string) => string;

/** Styles for a terminal, where NO_COLOR is not set; elsewhere text stays plain. See https://no-color.org. */
export function paintFor({ stdout, env }: Terminal): Paint {
  const isPlain = stdout.isTTY !== true || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return (style, text) => (isPlain ? text : styleText(style, text, { validateStream: false }));
}

/** Characters that are written at a time. */
const BATCH = 65_536;

/** Writes pieces as they come, never faster than the reader takes them. */
export async function writePieces(output: Output, pieces: Iterable<string>): Promise<void> {
  let batch = '';
  for (const piece of pieces) {
    batch += piece;
    if (batch.length < BATCH) continue;
    if (!output.write(batch)) await once(output, 'drain');
    batch = '';
  }
  if (batch !== '') output.write(batch);
}

/** Writes lines, each with its end. */
export async function writeLines(output: Output, lines: Iterable<string>): Promise<void> {
  await writePieces(
    output,
    Iterator.from(lines).map((line) => `${line}\n`),
  );
}
