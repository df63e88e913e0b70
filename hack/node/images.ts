/** The images of the node: what its pods run, made of what is on this machine, as there is no registry to pull from. */
import { execFile } from 'node:child_process';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type ImageConfig, writeImage } from './image.ts';

const PROJECT = join(import.meta.dirname, '../..');
const PROGRAMS = join(PROJECT, 'bin/node');

/** What holds a pod's namespaces. */
export const PAUSE_IMAGE = 'pause:node';
/** CoreDNS. */
export const COREDNS_IMAGE = 'coredns:node';

/** As in distroless images: the number that manifests name, and a home that it may read. */
const PASSWD = 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n';
const GROUP = 'root:x:0:\nnonroot:x:65532:\n';
const CA_CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Writes the image of the operator as the Dockerfile would, on a base made of the Node that runs this, from dist/. */
export async function writeOperatorImage(reference: string, archive: string): Promise<void> {
  await inFolder(archive, async (root) => {
    await writeNodeBase(root);
    await cp(join(PROJECT, 'dist'), join(root, 'app/dist'), { recursive: true });
    await copyFile(join(PROJECT, 'LICENSE'), join(root, 'app/LICENSE'));
    const config = readImageConfig(await readFile(join(PROJECT, 'Dockerfile'), 'utf8'));
    await writeImage({ reference, root, config }, archive);
  });
}

/** Writes the image of the program that holds a pod's namespaces. */
export async function writePauseImage(archive: string): Promise<void> {
  await writeProgramImage(PAUSE_IMAGE, 'pause', archive);
}

/** Writes the image of CoreDNS. */
export async function writeCoreDNSImage(archive: string): Promise<void> {
  await writeProgramImage(COREDNS_IMAGE, 'coredns', archive);
}

/** Puts Node and what it needs of the operating system below a folder: libraries, users, certificates. */
export async function writeNodeBase(root: string): Promise<void> {
  await copyProgram(process.execPath, join(root, 'nodejs/bin/node'));
  for (const library of await librariesOf(process.execPath)) await copyProgram(library, join(root, library));
  for (const folder of ['tmp', 'home/nonroot', 'etc/ssl/certs']) await mkdir(join(root, folder), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  await writeFile(join(root, 'etc/passwd'), PASSWD);
  await writeFile(join(root, 'etc/group'), GROUP);
  await copyFile(CA_CERTIFICATES, join(root, CA_CERTIFICATES)).catch((error: unknown) => {
    // The operator trusts what its ServiceAccount has; these are for what else runs in the image.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
}

/**
 * The configuration that the last stage of a Dockerfile gives: ENTRYPOINT, ENV, EXPOSE, USER and WORKDIR. Throws when it
 * has no ENTRYPOINT in the form of a list.
 */
export function readImageConfig(dockerfile: string): ImageConfig {
  const stage = dockerfile.slice(dockerfile.search(/^FROM (?![^]*^FROM )/m));
  const all = (instruction: string) =>
    [...stage.matchAll(new RegExp(`^${instruction} (.*)$`, 'gm'))].map(([, argument = '']) => argument);
  const [entrypoint] = all('ENTRYPOINT');
  if (entrypoint?.startsWith('[') !== true) {
    throw new Error(`Dockerfile: expected ENTRYPOINT [...] in its last stage, got ${entrypoint ?? 'none'}`);
  }
  const [user] = all('USER');
  const [folder] = all('WORKDIR');
  return {
    Entrypoint: JSON.parse(entrypoint) as string[],
    Env: all('ENV'),
    ExposedPorts: Object.fromEntries(
      all('EXPOSE')
        .flatMap((ports) => ports.split(' '))
        .map((port) => [`${port}/tcp`, {}]),
    ),
    ...(user !== undefined && { User: user }),
    ...(folder !== undefined && { WorkingDir: folder }),
  };
}

async function writeProgramImage(reference: string, program: string, archive: string): Promise<void> {
  await inFolder(archive, async (root) => {
    await copyProgram(join(PROGRAMS, program), join(root, program));
    await writeImage({ reference, root, config: { Entrypoint: [`/${program}`] } }, archive);
  });
}

/** The shared libraries of a program, and what loads them: where it looks for them, by ldd. */
export async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ldd', [program]);
  return [...stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path = '']) => path);
}

/** Copies a program, or a library, and makes it executable. */
export async function copyProgram(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
  await chmod(to, 0o755);
}

/** Calls back with an empty folder beside a file, and removes it afterwards. */
export async function inFolder(file: string, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(`${file}.root-`);
  try {
    await chmod(folder, 0o755);
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
