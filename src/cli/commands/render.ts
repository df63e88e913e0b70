import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import { outputFlag, type Command } from '../command.ts';
import { InputError } from '../errors.ts';
import { childrenOf } from '../input/children.ts';
import { INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { PROTECTED_FLAG, protectedNamespacesOf, wantedOf } from '../input/inventory.ts';
import { writeStructured } from '../output/structured.ts';
import { toYAML } from '../output/yaml.ts';
import { writePieces } from '../terminal.ts';

/** Prints the NetworkPolicies that BaselinePolicies make. */
export const render: Command = {
  usage: 'render',
  about: 'Print the NetworkPolicies that BaselinePolicies make for the namespaces given, ready for kubectl apply',
  options: { ...outputFlag('yaml', 'json'), ...PROTECTED_FLAG, ...INPUT_FLAGS },
  examples: [
    ['render -f policy.yaml -f namespaces.yaml', 'What would this policy make?'],
    ['render -n shop', 'What do the policies of the cluster make in a namespace?'],
  ],
  run: async (flags, terminal) => {
    const { objects } = await readInput(flags, terminal, { workloads: false, policies: true });
    if (objects.baselinePolicies.length === 0) {
      throw new InputError(['expected at least one BaselinePolicy in the input, found none']);
    }
    const only = flags.text('namespace');
    const { wanted, warnings } = wantedOf(objects, { protectedNamespaces: protectedNamespacesOf(flags) });
    warn(terminal, warnings);
    const children = wanted
      .filter(({ namespace }) => only === undefined || namespace.name === only)
      .flatMap((one) => childrenOf(one));
    if (flags.text('output') === 'json') {
      writeStructured(terminal.stdout, 'json', { apiVersion: 'v1', kind: 'List', items: children });
    } else {
      await writePieces(terminal.stdout, children.values().map(documentOf));
    }
    return 0;
  },
};

function documentOf(child: NetworkPolicy): string {
  return `---\n${toYAML(child)}`;
}
