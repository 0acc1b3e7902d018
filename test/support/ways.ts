/** The four ways in which one file is uploaded. */
import { randomUUID } from 'node:crypto'
import { base64 } from '../acceptance/helpers.js'
import { BOUNDARY, formBody, sendBody } from '../acceptance/streaming-helpers.js'
import type { Client } from './client.js'
import type { TestService } from './service.js'

export const WAYS = ['json', 'octets', 'form', 'resumable'] as const
export type Way = (typeof WAYS)[number]

export interface Outcome {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
  /** Of the raw file; undefined when the upload was refused. */
  readonly id: string | undefined
  /** Path of a resumable upload that was begun. */
  readonly upload?: string
}

const OCTETS = 'application/octet-stream'
const TUS = { 'tus-resumable': '1.0.0' }
const PART = { ...TUS, 'content-type': 'application/offset+octet-stream' }

/** Uploads a content for a job; refusals are outcomes as well. */
export async function uploadBy(
  way: Way,
  service: Pick<TestService, 'url'>,
  client: Client,
  job: string,
  content: Buffer,
): Promise<Outcome> {
  if (way === 'resumable') return resumable(client, job, content)
  const { type, body } = bodyOf(way, content)
  const headers = { authorization: `Bearer ${client.token}`, 'content-type': type }
  const path = `/bytes/raw?boefje_meta_id=${job}${way === 'octets' ? `&tag=${way}` : ''}`
  const answer = await sendBody(service.url, path, headers, body)
  const retryAfter = answer.headers['retry-after']
  const ids = answer.status === 200 ? (JSON.parse(answer.text) as Record<string, string>) : {}
  return { status: answer.status, text: answer.text, retryAfter, id: Object.values(ids)[0] }
}

function bodyOf(way: Exclude<Way, 'resumable'>, content: Buffer) {
  switch (way) {
    case 'json': {
      const file = { name: 'file', content: base64(content), tags: [randomUUID()] }
      return { type: 'application/json', body: [Buffer.from(JSON.stringify({ files: [file] }))] }
    }
    case 'octets':
      return { type: OCTETS, body: [content] }
    case 'form': {
      const parts = [{ name: 'file', fileName: 'file', content: [content] }]
      return { type: `multipart/form-data; boundary=${BOUNDARY}`, body: formBody(parts) }
    }
  }
}

async function resumable(client: Client, job: string, content: Buffer): Promise<Outcome> {
  const metadata = `boefje_meta_id ${base64(job)}`
  const created = await client.request('/bytes/uploads', {
    method: 'POST',
    headers: { ...TUS, 'upload-length': String(content.length), 'upload-metadata': metadata },
  })
  const upload = created.headers.get('location')
  if (created.status !== 201 || upload === null) return outcomeOf(created)
  return { ...(await sendRest(client, new URL(upload, created.url).pathname, 0, content)), upload }
}

/** Sends what is left of a resumable upload. */
export async function sendRest(
  client: Client,
  path: string,
  offset: number,
  content: Buffer,
): Promise<Outcome> {
  const headers = { ...PART, 'upload-offset': String(offset) }
  const body = new Uint8Array(content.subarray(offset))
  return outcomeOf(await client.request(path, { method: 'PATCH', headers, body }))
}

/** How much of a resumable upload has arrived, and the raw file's id when that is all. */
export async function offsetOf(client: Client, path: string) {
  const answer = await client.request(path, { method: 'HEAD', headers: TUS })
  const offset = Number(answer.headers.get('upload-offset'))
  return { status: answer.status, offset, id: answer.headers.get('bytes-raw-id') ?? undefined }
}

async function outcomeOf(answer: Response): Promise<Outcome> {
  return {
    status: answer.status,
    text: await answer.text(),
    retryAfter: answer.headers.get('retry-after') ?? undefined,
    id: answer.headers.get('bytes-raw-id') ?? undefined,
  }
}
