import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

/** What a container of an image runs, by default; names and meaning as in the image's configuration of OCI. */
export interface ImageConfig {
  readonly Entrypoint: readonly string[];
  readonly Env?: readonly string[];
  /** Number of a user and a group, with a colon between. */
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
}

/** An image of one layer. */
export interface Image {
  /** Name and tag. */
  readonly reference: string;
  /** Folder whose content is the root of the image's file system; all of it will be root's. */
  readonly root: string;
  readonly config: ImageConfig;
}

/** Go's names of Node's architectures, which images use. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Writes an image as an archive of `docker save`, which Docker, podman and containerd load: the layer, a tar; the
 * configuration; and a manifest that names them (Docker Image Specification 1.2). The same files give the same bytes.
 */
export async function writeImage({ reference, root, config }: Image, archive: string): Promise<void> {
  const folder = await mkdtemp(`${archive}.`);
  try {
    const layer = join(folder, 'layer.tar');
    await tar(root, layer);
    const digest = await sha256(layer);
    await mkdir(join(folder, digest));
    await rename(layer, join(folder, digest, 'layer.tar'));
    const configuration = JSON.stringify({
      architecture: ARCHITECTURES[process.arch] ?? process.arch,
      os: 'linux',
      created: new Date(0).toISOString(),
      config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
    });
    const name = `${createHash('sha256').update(configuration).digest('hex')}.json`;
    await writeFile(join(folder, name), configuration);
    const manifest = [{ Config: name, RepoTags: [reference], Layers: [`${digest}/layer.tar`] }];
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
    await tar(folder, archive);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function tar(folder: string, archive: string): Promise<void> {
  const sameAlways = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];
  await promisify(execFile)('tar', ['--create', '--file', archive, ...sameAlways, '--directory', folder, '.']);
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
