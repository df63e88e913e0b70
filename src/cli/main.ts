#!/usr/bin/env node
import { run } from './program.ts';

// A reader such as `head` may have enough before all is written.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(process.exitCode ?? 0);
  });
}

const { stdin, stdout, stderr, env } = process;
try {
  process.exitCode = await run(process.argv.slice(2), { stdin, stdout, stderr, env });
} catch (error) {
  // Nobody expects this: it is a mistake of the program, and its trace helps to mend it.
  stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 2;
}
