/** Rows of texts as columns, each as wide as its widest text, two spaces apart. Texts must be plain. */
export function alignColumns(rows: readonly (readonly string[])[]): string[][] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  }
  return rows.map((row) =>
    row.map((cell, column) => cell.padEnd(column === row.length - 1 ? 0 : (widths[column] ?? 0))),
  );
}

/** A table as lines of text. */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return alignColumns([header, ...rows]).map((row) => row.join('  ').trimEnd());
}

/** Lines of a table in Markdown. */
export function* markdownTable(header: readonly string[], rows: Iterable<readonly string[]>): Generator<string> {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  yield line(header);
  yield `|${header.map(() => ' --- ').join('|')}|`;
  for (const row of rows) yield line(row);
}

/** Lines of a table in CSV, as RFC 4180 has it but for line ends. */
export function* csvTable(header: readonly string[], rows: Iterable<readonly string[]>): Generator<string> {
  const line = (cells: readonly string[]): string =>
    cells.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(',');
  yield line(header);
  for (const row of rows) yield line(row);
}
