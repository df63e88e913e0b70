import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Component } from '../envtest/component.ts';
import { Guard } from '../envtest/guard.ts';
import { containerdConfig } from './containerd.ts';
import { writeImage } from './image.ts';
import { copyProgram, inFolder, librariesOf, writeNodeBase } from './images.ts';

const PROJECT = join(import.meta.dirname, '../..');
const SOCKET = '/run/docker.sock';
const PATH = 'PATH=/nodejs/bin:/usr/local/bin:/usr/bin:/bin';
/** Its own: the one that it would start by itself writes outside of the folders that the sandbox hides. */
const CONTAINERD = {
  root: '/var/lib/docker-containerd',
  state: '/run/docker-containerd',
  address: '/run/docker-containerd/containerd.sock',
};
const READY_TIMEOUT_MS = 60_000;

/** What the Dockerfile builds on where there is no registry: its BASE_IMAGE and BUILDER_IMAGE. */
export const BASE_IMAGE = 'node-base:local';
export const BUILDER_IMAGE = 'node-builder:local';

/**
 * A Docker daemon in the sandbox, whose containers have no network. It has two images, made of what is on this machine:
 * BASE_IMAGE is Node, with the libraries that it needs; BUILDER_IMAGE has a shell and npm too, and the packages that the
 * project depends on, which npm.sh fetched.
 */
export class DockerDaemon implements AsyncDisposable {
  readonly #guard: Guard;

  private constructor(guard: Guard) {
    this.#guard = guard;
  }

  /** Starts the daemon and loads the images. Throws ComponentError when it does not run. */
  static async start(): Promise<DockerDaemon> {
    const docker = new DockerDaemon(await Guard.start());
    try {
      await docker.#start();
    } catch (error) {
      await docker.stop();
      throw error;
    }
    return docker;
  }

  /** Runs a program in the project's folder with what it needs to find this daemon; returns what it printed. */
  async run(program: string, ...args: string[]): Promise<string> {
    // Without the builder of later versions, which Debian does not have.
    const env = { ...process.env, DOCKER_HOST: `unix://${SOCKET}`, DOCKER_BUILDKIT: '0' };
    const { stdout } = await promisify(execFile)(program, args, { cwd: PROJECT, env, maxBuffer: 2 ** 24 });
    return stdout;
  }

  /** Ends the daemon. */
  async stop(): Promise<void> {
    await this.#guard.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    const config = join(this.#guard.folder, 'containerd.toml');
    await writeFile(config, containerdConfig(CONTAINERD, ['io.containerd.grpc.v1.cri']));
    const containerd = new Component(this.#guard, 'containerd', [`--config=${config}`]);
    await containerd.ready(
      async () => (await this.run('ctr', `--address=${CONTAINERD.address}`, 'version')) !== '',
      READY_TIMEOUT_MS,
    );
    const daemon = new Component(this.#guard, 'dockerd', [
      `--host=unix://${SOCKET}`,
      `--containerd=${CONTAINERD.address}`,
      `--cgroup-parent=${process.env['NODE_CGROUP'] ?? ''}`,
      '--storage-driver=overlay2',
      ...['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
      // Not everybody may go below what the daemon was started with.
      '--oom-score-adjust=0',
    ]);
    await daemon.ready(async () => (await this.run('docker', 'version')) !== '', READY_TIMEOUT_MS);
    const archive = join(this.#guard.folder, 'image.tar');
    for (const write of [writeBaseImage, writeBuilderImage]) {
      await write(archive);
      await this.run('docker', 'load', '--input', archive);
      await rm(archive);
    }
  }
}

async function writeBaseImage(archive: string): Promise<void> {
  await inFolder(archive, async (root) => {
    await writeNodeBase(root);
    await writeImage({ reference: BASE_IMAGE, root, config: { Entrypoint: ['/nodejs/bin/node'] } }, archive);
  });
}

async function writeBuilderImage(archive: string): Promise<void> {
  await inFolder(archive, async (root) => {
    await writeNodeBase(root);
    await copyProgram('/bin/sh', join(root, 'bin/sh'));
    for (const library of await librariesOf('/bin/sh')) await copyProgram(library, join(root, library));
    const fetched = join(PROJECT, 'bin/node/npm');
    await cp(join(fetched, 'node_modules/npm'), join(root, 'usr/local/lib/npm'), { recursive: true });
    await cp(join(fetched, 'cache'), join(root, 'npm-cache'), { recursive: true });
    await mkdir(join(root, 'usr/local/bin'), { recursive: true });
    const npm = join(root, 'usr/local/bin/npm');
    await writeFile(npm, '#!/bin/sh\nexec node /usr/local/lib/npm/bin/npm-cli.js "$@"\n');
    await chmod(npm, 0o755);
    const Env = [PATH, 'NPM_CONFIG_CACHE=/npm-cache', 'NPM_CONFIG_OFFLINE=true'];
    await writeImage({ reference: BUILDER_IMAGE, root, config: { Entrypoint: [], Env } }, archive);
  });
}
