/** What the soak stores, in all forms in which it can be stored. */
import { randomUUID } from 'node:crypto'
import { nextContent } from './soak-contents.mjs'
import { anyOf, check, JSON_TYPE, ORGANIZATIONS } from './soak-session.mjs'

/** @typedef {import('./soak-http.mjs').Request} Request */
/** @typedef {import('./soak-session.mjs').Job} Job */

const KIB = 1024
const MIB = 1024 * KIB
const BOUNDARY = 'soak-boundary-of-this-form'

/** @param {import('./soak-session.mjs').Session} session */
export function createUploads(session) {
  const { ask, postJson } = session

  const storeJob = async () => {
    const job = { id: randomUUID(), organization: anyOf(ORGANIZATIONS) }
    await postJson('job', '/bytes/boefje_meta', {
      ...job,
      started_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-01T00:10:00.123456Z',
      boefje: { id: 'dns-records', version: '1.0' },
      input_ooi: 'Hostname|internet|example.com',
      arguments: { retries: 3 },
    })
    session.keepJob(job)
  }

  const uploadJson = async () => {
    const job = session.anyJob()
    const count = 1 + Math.floor(Math.random() * 3)
    const parts = Array.from({ length: count }, (_, i) => ({
      name: `file-${i}`,
      tag: session.nextTag(),
      content: nextContent(count === 1 ? 8 * MIB : 256 * KIB),
    }))
    const texts = parts.map(
      ({ name, tag, content }) =>
        `{"name":"${name}","tags":["${tag}"],"content":"${content.base64()}"}`,
    )
    const answer = await ask('upload json', 200, {
      path: `/bytes/raw?boefje_meta_id=${job.id}`,
      method: 'POST',
      headers: JSON_TYPE,
      body: [Buffer.from(`{"files":[${texts.join(',')}]}`)],
    })
    const ids = JSON.parse(answer.body.toString())
    for (const { name, tag, content } of parts) session.keepFile(job, ids[name], tag, content)
  }

  const uploadForm = async () => {
    const job = session.anyJob()
    const tag = session.nextTag()
    const content = nextContent()
    const head =
      `--${BOUNDARY}\r\ncontent-disposition: form-data; name="tag"\r\n\r\n${tag}\r\n` +
      `--${BOUNDARY}\r\ncontent-disposition: form-data; name="scan"; filename="scan.bin"\r\n\r\n`
    const answer = await ask('upload form', 200, {
      path: `/bytes/raw?boefje_meta_id=${job.id}`,
      method: 'POST',
      headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      body: [Buffer.from(head), ...content.pieces(), Buffer.from(`\r\n--${BOUNDARY}--\r\n`)],
    })
    session.keepFile(job, JSON.parse(answer.body.toString()).scan, tag, content)
  }

  /** @param {Job} job @param {string} tag @param {readonly Buffer[]} body @returns {Request} */
  const octets = (job, tag, body) => ({
    path: `/bytes/raw?boefje_meta_id=${job.id}&tag=${encodeURIComponent(tag)}`,
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body,
  })

  const uploadOctets = async () => {
    const job = session.anyJob()
    const tag = session.nextTag()
    const content = nextContent()
    const answer = await ask('upload octets', 200, octets(job, tag, content.pieces()))
    session.keepFile(job, JSON.parse(answer.body.toString()).file, tag, content)
  }

  const uploadResumable = async () => {
    const job = session.anyJob()
    const tag = session.nextTag()
    const content = nextContent()
    const headers = { 'tus-resumable': '1.0.0' }
    const encoded = (/** @type {string} */ text) => Buffer.from(text).toString('base64')
    const metadata = `boefje_meta_id ${encoded(job.id)},filetype ${encoded(tag)}`
    const created = await ask('tus create', 201, {
      path: '/bytes/uploads',
      method: 'POST',
      headers: { ...headers, 'upload-length': `${content.size}`, 'upload-metadata': metadata },
      body: [],
    })
    const path = String(created.headers.location)
    let offset = 0
    /** @type {string | undefined} */
    let id
    for (const piece of content.pieces()) {
      const patched = await ask('tus patch', 204, {
        path,
        method: 'PATCH',
        headers: {
          ...headers,
          'upload-offset': String(offset),
          'content-type': 'application/offset+octet-stream',
        },
        body: [piece],
      })
      offset += piece.length
      check(patched.headers['upload-offset'] === String(offset), 'the offset is another one')
      id = patched.headers['bytes-raw-id']?.toString()
    }
    const seen = await ask('tus head', 200, { path, method: 'HEAD', headers })
    check(seen.headers['bytes-raw-id'] === id, 'HEAD tells another id')
    session.keepFile(job, String(id), tag, content)
  }

  const storeNormalizer = async () => {
    const { id, job, organization } = session.anyFile()
    await postJson('normalizer', '/bytes/normalizer_meta', {
      id: randomUUID(),
      started_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-01T00:00:01Z',
      normalizer: { id: 'kat-normalizer', version: '1' },
      raw_data: {
        id,
        boefje_meta: {
          id: job,
          boefje: { id: 'dns-records' },
          organization,
          started_at: '2026-01-01T00:00:00Z',
          ended_at: '2026-01-01T00:10:00.123456Z',
          arguments: {},
        },
      },
    })
  }

  const breakOffUpload = async () => {
    const request = octets(session.anyJob(), session.nextTag(), nextContent().pieces())
    const headers = session.authorized(request.headers)
    await session.http.breakOffUpload({ ...request, headers })
    session.tally.count('upload broken off', 0)
  }

  return {
    storeJob,
    uploadJson,
    uploadForm,
    uploadOctets,
    uploadResumable,
    storeNormalizer,
    breakOffUpload,
  }
}
