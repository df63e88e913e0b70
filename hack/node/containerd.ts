/** Where a containerd has its files. */
export interface ContainerdPaths {
  /** Folder of what lasts: images, layers. */
  readonly root: string;
  /** Folder of what is of now: mounts, processes. */
  readonly state: string;
  /** Its socket. */
  readonly address: string;
}

/** Plugins for other file systems than the usual. */
const UNUSED = ['aufs', 'btrfs', 'devmapper', 'zfs'].map((name) => `io.containerd.snapshotter.v1.${name}`);

/** The beginning of a containerd's configuration, version 2; what plugins need is added below. */
export function containerdConfig({ root, state, address }: ContainerdPaths, unused: readonly string[] = []): string {
  return `
version = 2
root = "${root}"
state = "${state}"
disabled_plugins = ${JSON.stringify([...UNUSED, ...unused])}

[grpc]
address = "${address}"

[plugins."io.containerd.internal.v1.opt"]
path = "${root}/opt"
`;
}
