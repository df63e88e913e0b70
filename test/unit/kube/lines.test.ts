import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { readLines } from '../../../src/kube/lines.ts';

async function linesOf(chunks: readonly Uint8Array[]): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLines(Readable.from(chunks))) lines.push(line);
  return lines;
}

/** The bytes, cut before each of these places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places].sort((a, b) => a - b).map((place) => place % (bytes.length + 1));
  const sorted = [0, ...ends.sort((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
}

describe('readLines', () => {
  it('gives several lines of one chunk, and one line of several chunks', async () => {
    const chunks = ['a\nb\nc', 'c', 'c\n', 'd\n'].map((text) => Buffer.from(text));
    assert.deepEqual(await linesOf(chunks), ['a', 'b', 'ccc', 'd']);
  });

  it('joins a character whose bytes came in different chunks', async () => {
    const bytes = Buffer.from('grün 🙂\n');
    const chunks = Array.from(bytes, (byte) => Uint8Array.of(byte));
    assert.deepEqual(await linesOf(chunks), ['grün 🙂']);
  });

  it('drops a last line without an end: it may be cut', async () => {
    assert.deepEqual(await linesOf([Buffer.from('{"a":1}\n{"a":2')]), ['{"a":1}']);
    assert.deepEqual(await linesOf([]), []);
  });

  it('keeps empty lines, and a byte order mark', async () => {
    assert.deepEqual(await linesOf([Buffer.from('\n\n\uFEFFa\n')]), ['', '', '\uFEFFa']);
    assert.deepEqual(await linesOf([Buffer.from('\uFEFFa\n')]), ['\uFEFFa']);
  });

  it('gives the lines that came before the stream failed, then fails', async () => {
    const failing = Readable.from(
      (function* () {
        yield Buffer.from('a\nb');
        throw new Error('reset');
      })(),
    );
    const lines: string[] = [];
    await assert.rejects(async () => {
      for await (const line of readLines(failing)) lines.push(line);
    }, /reset/);
    assert.deepEqual(lines, ['a']);
  });

  it('ends the stream when its reader stops', async () => {
    const stream = Readable.from([Buffer.from('a\nb\n'), Buffer.from('c\n')]);
    for await (const line of readLines(stream)) if (line === 'a') break;
    assert.equal(stream.destroyed, true);
  });

  it('gives the same lines wherever the chunks are cut', async () => {
    const line = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\n', ' '));
    await fc.assert(
      fc.asyncProperty(fc.array(line), line, fc.array(fc.nat(500)), async (lines, rest, places) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join('') + rest);
        assert.deepEqual(await linesOf(cut(bytes, places)), lines);
      }),
    );
  });
});
