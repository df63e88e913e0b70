/** A command line of kubectl-baseline with the output that a page shows below it. */
export interface ShownCommand {
  readonly line: string;
  readonly output: string;
}

/** The blocks of code of one language, in the order of the page. */
export function codeBlocks(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, block = '']) => block);
}

/** What the first line of a block of YAML names: `# store/policies.yaml`. Empty when it names nothing. */
export function pathOf(block: string): string {
  return /^# (\S+)$/m.exec(block)?.[1] ?? '';
}

/** The command lines of blocks of the language `console`, which begin with `$ kubectl baseline`. */
export function shownCommands(page: string): ShownCommand[] {
  return codeBlocks(page, 'console').flatMap((block) =>
    block.split(/^(?=\$ )/m).map((part) => {
      const end = part.indexOf('\n');
      return { line: part.slice('$ kubectl baseline '.length, end), output: part.slice(end + 1) };
    }),
  );
}

/** Words of a command line; quotes hold blanks together. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}
