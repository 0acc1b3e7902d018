/** A plain HTTP client for tests. It knows nothing of the source. */
import { randomUUID } from 'node:crypto'
import { PASSWORD, USERNAME } from './service.js'

export interface Client {
  readonly token: string
  /** Sends a request with the token; `init.headers` wins over it. */
  request(path: string, init?: RequestInit): Promise<Response>
  getJson(path: string): Promise<unknown>
  postJson(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  /** Stores a job and gives its id. */
  job(organization?: string, fields?: Record<string, unknown>): Promise<string>
  /** Stores files for a job and gives their ids by name. */
  upload(
    jobId: string,
    files: readonly { name: string; content: Uint8Array | string; tags?: readonly string[] }[],
  ): Promise<Record<string, string>>
}

export async function login(url: string): Promise<Client> {
  const form = new URLSearchParams({ username: USERNAME, password: PASSWORD })
  const answer = await fetch(`${url}/token`, { method: 'POST', body: form })
  if (answer.status !== 200) throw new Error(`log-in answered ${answer.status}`)
  const { access_token: token } = (await answer.json()) as { access_token: string }

  const request: Client['request'] = async (path, init = {}) => {
    const send = (): Promise<Response> =>
      fetch(`${url}${path}`, {
        redirect: 'manual',
        ...init,
        headers: { authorization: `Bearer ${token}`, ...init.headers },
      })
    try {
      return await send()
    } catch (error) {
      // The service ends idle connections: a request may meet that, and is then repeated (RFC 9112, 9.3.1).
      if ((init.method ?? 'GET') !== 'GET' || !isClosed(error)) throw error
      return send()
    }
  }
  const expectStatus = async (answer: Response, status: number): Promise<Response> => {
    if (answer.status !== status) {
      throw new Error(`${answer.url} answered ${answer.status}: ${await answer.text()}`)
    }
    return answer
  }
  const postJson: Client['postJson'] = (path, body, headers = {}) =>
    request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  return {
    token,
    request,
    postJson,
    getJson: async (path) => (await expectStatus(await request(path), 200)).json(),
    job: async (organization = 'org', fields = {}) => {
      const job = exampleJob({ organization, ...fields })
      await expectStatus(await postJson('/bytes/boefje_meta', job), 201)
      return job.id
    },
    upload: async (jobId, files) => {
      const body = {
        files: files.map(({ name, content, tags = [] }) => ({
          name,
          content: Buffer.from(content).toString('base64'),
          tags,
        })),
      }
      const answer = await postJson(`/bytes/raw?boefje_meta_id=${jobId}`, body)
      return (await (await expectStatus(answer, 200)).json()) as Record<string, string>
    },
  }
}

const isClosed = (error: unknown): boolean =>
  error instanceof TypeError &&
  error.cause instanceof Error &&
  error.cause.message === 'other side closed'

export function exampleJob(fields: Record<string, unknown> = {}) {
  return {
    id: randomUUID() as string,
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T00:10:00.123456Z',
    boefje: { id: 'dns-records', version: null },
    input_ooi: 'Hostname|internet|example.com',
    arguments: {},
    organization: 'org',
    ...fields,
  }
}
