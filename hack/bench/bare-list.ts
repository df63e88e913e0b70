import { text } from 'node:stream/consumers';
import { Agent } from 'undici';

/*
 * Prints how many milliseconds the lists take that an operator starts with, page by page and parsed, by a process that
 * has just started. Reads {server, token, ca} from standard input.
 */
const { server, token, ca } = JSON.parse(await text(process.stdin)) as { server: string; token: string; ca: string };
const agent = new Agent({ connect: { ca }, allowH2: false });
const RESOURCES = [
  '/api/v1/namespaces',
  '/apis/networking.k8s.io/v1/networkpolicies',
  '/apis/baselinepolicy.dev/v1alpha1/baselinepolicies',
];

// An operator has a connection, too, when it begins to list.
await get('/version');
const startedAt = performance.now();
await Promise.all(RESOURCES.map(list));
console.log(performance.now() - startedAt);
await agent.close();

async function list(path: string): Promise<void> {
  let query = '?limit=500';
  do {
    const { metadata } = (await get(path + query)) as { metadata: { continue?: string } };
    query = metadata.continue ? `?limit=500&continue=${encodeURIComponent(metadata.continue)}` : '';
  } while (query !== '');
}

async function get(path: string): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}`, 'user-agent': 'bench' };
  const { statusCode, body } = await agent.request({ origin: server, path, method: 'GET', headers });
  const answer = await body.text();
  if (statusCode !== 200) throw new Error(`GET ${path}: expected 200, got ${statusCode} ${answer}`);
  return JSON.parse(answer);
}
