import { compareText } from '../../analysis/cluster.ts';
import type { BaselinePolicy } from '../../api/baselinepolicy.ts';
import type { NetworkPolicy } from '../../api/networkpolicy.ts';
import { admissionBindings, type AdmissionBinding, type GuardAction } from '../../policy/admission.ts';
import { outputFlag, type Command, type Flags } from '../command.ts';
import { InputError, UsageError } from '../errors.ts';
import { childrenOf } from '../input/children.ts';
import { INPUT_FLAGS, readInput, warn } from '../input/input.ts';
import { PROTECTED_FLAG, protectedNamespacesOf, wantedOf } from '../input/inventory.ts';
import { writeStructured } from '../output/structured.ts';
import { toYAML } from '../output/yaml.ts';
import { writePieces, type Terminal } from '../terminal.ts';

const GUARD_ACTIONS: readonly GuardAction[] = ['warn', 'deny', 'off'];

/** Prints the NetworkPolicies that BaselinePolicies make, or the bindings of admission policies for them. */
export const render: Command = {
  usage: 'render',
  about: 'Print the NetworkPolicies that BaselinePolicies make for the namespaces given, ready for kubectl apply',
  options: {
    ...outputFlag('yaml', 'json'),
    admission: {
      type: 'boolean',
      description:
        'Print, instead, the bindings of the start gate and the opening guard for BaselinePolicies that select by more than the opt-in label',
    },
    guard: {
      type: 'string',
      choices: GUARD_ACTIONS,
      description: 'With --admission: what the opening guard does; warn by default',
    },
    ...PROTECTED_FLAG,
    ...INPUT_FLAGS,
  },
  examples: [
    ['render -f policy.yaml -f namespaces.yaml', 'What would this policy make?'],
    ['render -n shop', 'What do the policies of the cluster make in a namespace?'],
    ['render --admission --guard=deny', 'Hold pods until their baseline is there, and refuse what opens it'],
  ],
  run: async (flags, terminal) => {
    const guard = guardOf(flags);
    const { objects } = await readInput(flags, terminal, { workloads: false, policies: true });
    if (objects.baselinePolicies.length === 0) {
      throw new InputError(['expected at least one BaselinePolicy in the input, found none']);
    }
    if (guard !== undefined) {
      const { bindings, notes } = bindingsOf(objects.baselinePolicies, guard, protectedNamespacesOf(flags));
      warn(terminal, notes);
      await writeObjects(bindings, flags, terminal);
      return 0;
    }
    const only = flags.text('namespace');
    const { wanted, warnings } = wantedOf(objects, { protectedNamespaces: protectedNamespacesOf(flags) });
    warn(terminal, warnings);
    const children = wanted
      .filter(({ namespace }) => only === undefined || namespace.name === only)
      .flatMap((one) => childrenOf(one));
    await writeObjects(children, flags, terminal);
    return 0;
  },
};

/** What the guard is to do; undefined without --admission. */
function guardOf(flags: Flags): GuardAction | undefined {
  const given = flags.text('guard');
  if (flags.isOn('admission')) {
    if (flags.text('namespace') === undefined) return GUARD_ACTIONS.find((action) => action === given) ?? 'warn';
    throw new UsageError('--namespace: expected without --admission, whose bindings are for all namespaces, got both');
  }
  if (given !== undefined) throw new UsageError('--guard: expected with --admission, got it alone');
  return undefined;
}

/** The bindings of BaselinePolicies, in the order of their names. */
function bindingsOf(
  policies: readonly BaselinePolicy[],
  guard: GuardAction,
  protectedNamespaces: readonly string[],
): { bindings: readonly AdmissionBinding[]; notes: readonly string[] } {
  const all = [...policies]
    .sort((a, b) => compareText(a.metadata.name, b.metadata.name))
    .map((policy) => admissionBindings(policy, { guard, protectedNamespaces }));
  return { bindings: all.flatMap(({ bindings }) => bindings), notes: all.flatMap(({ notes }) => notes) };
}

async function writeObjects(
  objects: readonly (NetworkPolicy | AdmissionBinding)[],
  flags: Flags,
  { stdout }: Terminal,
): Promise<void> {
  if (flags.text('output') === 'json') {
    writeStructured(stdout, 'json', { apiVersion: 'v1', kind: 'List', items: objects });
  } else {
    await writePieces(
      stdout,
      objects.values().map((object) => `---\n${toYAML(object)}`),
    );
  }
}
