import { compareText, workloadName, type NamedPort, type Workload } from '../../analysis/cluster.ts';
import type { KubernetesObject } from '../../api/metadata.ts';
import type { LabelSelector, NetworkPolicy } from '../../api/networkpolicy.ts';
import type { Labels } from '../../policy/selector.ts';
import type { Controller, ObjectSet, Pod, PodSpec } from './objects.ts';

/** Workloads, and which pods belong to them. */
export interface Workloads {
  readonly workloads: readonly Workload[];
  /** Name of the workload (see workloadName) of each pod, by `namespace/name`. */
  readonly ofPod: ReadonlyMap<string, string>;
}

/** What policies see of a pod. */
type Traits = Pick<Workload, 'labels' | 'ports' | 'hostNetwork'>;

/** Labels that controllers put on each pod or on each revision; policies rarely select by them. */
const GENERATED_LABELS: readonly string[] = [
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-completion-index',
  'batch.kubernetes.io/job-name',
  'controller-revision-hash',
  'controller-uid',
  'job-name',
  'pod-template-generation',
  'pod-template-hash',
  'statefulset.kubernetes.io/pod-name',
];

/**
 * The workloads of objects: pods belong to the controller at the end of the line of owners (`controller: true`), and
 * are one workload with it. Pods whose labels, named ports or host network are not those of most, or of the template,
 * are workloads of their own, named as pods. Labels that controllers generate count only where a policy selects by them.
 * Pods that have run to their end have no connections, and are left out.
 * @param policies those that will be asked about the workloads
 */
export function workloadsOf(
  set: Pick<ObjectSet, 'pods' | 'controllers'>,
  policies: readonly NetworkPolicy[],
): Workloads {
  const ignored = ignoredLabels(policies);
  const controllers = new Map(set.controllers.map((object) => [idOf(object), object]));
  const pods = set.pods.filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed');
  const podsByOwner = Map.groupBy(pods, (pod) => topOwner(pod, controllers));
  const owners = new Set([
    ...podsByOwner.keys(),
    ...set.controllers.filter((object) => topOwner(object, controllers) === idOf(object)).map(idOf),
  ]);
  const workloads: Workload[] = [];
  const ofPod = new Map<string, string>();
  for (const id of [...owners].sort(compareText)) {
    const owned = (podsByOwner.get(id) ?? []).sort((a, b) => compareText(a.metadata.name, b.metadata.name));
    for (const { workload, members } of splitOwned(id, owned, controllers.get(id), ignored)) {
      workloads.push(workload);
      const name = workloadName(workload);
      for (const pod of members) ofPod.set(`${pod.metadata.namespace ?? ''}/${pod.metadata.name}`, name);
    }
  }
  return { workloads, ofPod };
}

interface Member {
  readonly workload: Workload;
  readonly members: readonly Pod[];
}

function splitOwned(
  id: string,
  pods: readonly Pod[],
  controller: Controller | undefined,
  ignored: ReadonlySet<string>,
): Member[] {
  const [namespace = '', kind = '', name = ''] = id.split('/');
  const template = controller && traitsOfTemplate(controller, ignored);
  const groups = [...Map.groupBy(pods, (pod) => keyOf(traitsOfPod(pod, ignored)))];
  // The sort is stable: of groups of one size the first, by the names of pods, stays the first.
  groups.sort(([, a], [, b]) => b.length - a.length);
  const main = template && groups.length === 0 ? keyOf(template) : mainGroup(groups, template);
  const [first] = groups.find(([key]) => key === main)?.[1] ?? [];
  const traits = first === undefined ? template : traitsOfPod(first, ignored);
  if (traits === undefined) return [];
  return [
    member({ namespace, name, kind, ...traits }, groups.find(([key]) => key === main)?.[1] ?? []),
    ...groups
      .filter(([key]) => key !== main)
      .flatMap(([, odd]) => odd)
      .map((pod) => member({ namespace, name: pod.metadata.name, kind: 'Pod', ...traitsOfPod(pod, ignored) }, [pod])),
  ];
}

function mainGroup(groups: readonly [string, Pod[]][], template: Traits | undefined): string | undefined {
  const ofTemplate = template && keyOf(template);
  return groups.some(([key]) => key === ofTemplate) ? ofTemplate : groups[0]?.[0];
}

function member(workload: Workload, members: readonly Pod[]): Member {
  const ips = members.flatMap(({ status }) => {
    const list = (status?.podIPs ?? []).map(({ ip }) => ip);
    return list.length === 0 && status?.podIP !== undefined ? [status.podIP] : list;
  });
  return { workload: ips.length === 0 ? workload : { ...workload, ips: [...new Set(ips)] }, members };
}

/** `namespace/Kind/name`. */
function idOf({ kind, metadata }: KubernetesObject): string {
  return `${metadata.namespace ?? ''}/${kind ?? 'Pod'}/${metadata.name}`;
}

/** The controller at the end of the line of owners; the object itself when it has none. */
function topOwner(object: KubernetesObject, controllers: ReadonlyMap<string, Controller>): string {
  let current: KubernetesObject | undefined = object;
  let id = idOf(object);
  const seen = new Set<string>();
  while (current !== undefined && !seen.has(id)) {
    seen.add(id);
    const owner: { kind: string; name: string } | undefined = (current.metadata.ownerReferences ?? []).find(
      ({ controller }) => controller === true,
    );
    if (owner === undefined) break;
    id = `${object.metadata.namespace ?? ''}/${owner.kind}/${owner.name}`;
    current = controllers.get(id);
  }
  return id;
}

function traitsOfPod({ metadata, spec = {} }: Pod, ignored: ReadonlySet<string>): Traits {
  return traits(metadata.labels ?? {}, spec, ignored);
}

function traitsOfTemplate({ spec }: Controller, ignored: ReadonlySet<string>): Traits {
  const template = spec?.template ?? spec?.jobTemplate?.spec?.template;
  return traits(template?.metadata?.labels ?? {}, template?.spec ?? {}, ignored);
}

function traits(labels: Labels, spec: PodSpec, ignored: ReadonlySet<string>): Traits {
  const kept = Object.entries(labels).filter(([key]) => !ignored.has(key));
  return { labels: Object.fromEntries(kept), ports: namedPorts(spec), hostNetwork: spec.hostNetwork === true };
}

/** Named ports of containers, and of init containers that run beside them. */
function namedPorts({ containers = [], initContainers = [] }: PodSpec): NamedPort[] {
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always');
  return [...containers, ...sidecars]
    .flatMap(({ ports = [] }) => ports)
    .flatMap(({ name, containerPort, protocol = 'TCP' }) =>
      name === undefined || containerPort === undefined ? [] : [{ name, protocol, port: containerPort }],
    );
}

function keyOf({ labels, ports, hostNetwork }: Traits): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => compareText(a, b));
  const named = ports.map(({ name, protocol, port }) => `${name} ${protocol} ${port}`).sort(compareText);
  return JSON.stringify([sorted, named, hostNetwork]);
}

function ignoredLabels(policies: readonly NetworkPolicy[]): ReadonlySet<string> {
  const used = new Set(
    policies.flatMap(({ spec = {} }) => [
      ...keysOf(spec.podSelector),
      ...(spec.ingress ?? []).flatMap(({ from }) => (from ?? []).flatMap(({ podSelector }) => keysOf(podSelector))),
      ...(spec.egress ?? []).flatMap(({ to }) => (to ?? []).flatMap(({ podSelector }) => keysOf(podSelector))),
    ]),
  );
  return new Set(GENERATED_LABELS.filter((key) => !used.has(key)));
}

function keysOf(selector: LabelSelector | undefined): string[] {
  return [...Object.keys(selector?.matchLabels ?? {}), ...(selector?.matchExpressions ?? []).map(({ key }) => key)];
}
