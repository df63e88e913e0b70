/**
 * Orders two resourceVersions: negative when `a` is older. They are decimal numbers of up to 64 bits that grow with
 * every write (comparable since Kubernetes 1.35 by KEP-5504, and with etcd always), so a longer one is newer.
 */
export function compareResourceVersions(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}
