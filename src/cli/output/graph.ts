/** A graph in the DOT language as SVG, drawn by Graphviz, which is compiled to WebAssembly and takes a moment to load. */
export async function drawGraph(dot: string): Promise<string> {
  const { Graphviz } = await import('@hpcc-js/wasm-graphviz');
  const graphviz = await Graphviz.load();
  return graphviz.dot(dot, 'svg');
}
