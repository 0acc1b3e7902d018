/** What the soak reads; every byte and every answer is compared with what it stored. */
import { anyOf, check, ORGANIZATIONS } from './soak-session.mjs'

/** @typedef {import('./soak-session.mjs').Known} Known */

/** @param {import('./soak-session.mjs').Session} session */
export function createReads(session) {
  const { ask, getJson } = session

  /** @param {Known} file @param {number} [from] where the answer begins in the content */
  const compare =
    ({ content, id }, from = 0) =>
    (/** @type {Buffer} */ chunk, /** @type {number} */ offset) =>
      check(content.has(chunk, from + offset), `wrong bytes of ${id}`)

  const download = async () => {
    const file = session.anyFile()
    const request = { path: `/bytes/raw/${file.id}`, onData: compare(file) }
    const { length } = await ask('download', 200, request)
    check(length === file.content.size, `${length} bytes of ${file.id}`)
  }

  const downloadBlob = async () => {
    const file = session.anyFile()
    const { organization, content } = file
    const query = `organization=${encodeURIComponent(organization)}`
    const path = `/bytes/blobs/sha512:${content.digest()}?${query}`
    const { length } = await ask('download blob', 200, { path, onData: compare(file) })
    check(length === content.size, `${length} bytes of the blob of ${file.id}`)
  }

  const downloadRange = async () => {
    const file = session.anyFile()
    const from = Math.floor(Math.random() * file.content.size)
    const to = from + Math.floor(Math.random() * (file.content.size - from))
    const { length } = await ask('download range', 206, {
      path: `/bytes/raw/${file.id}`,
      headers: { range: `bytes=${from}-${to}` },
      onData: compare(file, from),
    })
    check(length === to - from + 1, `${length} bytes of a range of ${file.id}`)
  }

  const listFiles = async () => {
    const { id, tag, organization } = session.anyFile()
    const query = new URLSearchParams({ organization, mime_types: tag, limit: '10' })
    const rows = await getJson('list files', `/bytes/raw?${query}`)
    check(rows.length === 1 && rows[0].id === id, `${id} is not listed by its MIME type`)
  }

  const followList = async () => {
    const query = new URLSearchParams({ organization: anyOf(ORGANIZATIONS), limit: '50' })
    /** @type {string | undefined} */
    let path = `/bytes/raw?${query}`
    for (let page = 0; page < 3 && path; page++) {
      const answer = await ask('list page', 200, { path })
      path = /<([^>]*)>; rel="next"/.exec(String(answer.headers.link ?? ''))?.[1]
    }
  }

  const listJobs = async () => {
    const organization = anyOf(ORGANIZATIONS)
    const query = new URLSearchParams({ organization, input_ooi: '*', limit: '20' })
    for (const job of await getJson('list jobs', `/bytes/boefje_meta?${query}`)) {
      check(job.organization === organization, `${job.id} is of ${job.organization}`)
    }
  }

  const verify = async () => {
    const { id } = session.anyFile()
    const { verdict, checks } = await getJson('verify', `/bytes/raw/${id}/verify`)
    const right = verdict === 'verified' || verdict === 'pending'
    check(right, `the verdict on ${id} is ${verdict}: ${JSON.stringify(checks)}`)
  }

  const logIn = async () => {
    const body = [Buffer.from(new URLSearchParams(session.credentials).toString())]
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    await ask('log-in', 200, { path: '/token', method: 'POST', headers, body })
  }

  const scrape = async () => {
    const { body } = await ask('metrics', 200, { path: '/metrics' })
    check(body.includes('bytes_outbox_events'), 'the page of metrics is not whole')
  }

  const breakOffDownload = async () => {
    const path = `/bytes/raw/${session.anyFile().id}`
    const status = await session.http.breakOffDownload({ path, headers: session.authorized() })
    check(status === 200, `status ${status}`)
    session.tally.count('download broken off', 0)
  }

  return {
    download,
    downloadBlob,
    downloadRange,
    listFiles,
    followList,
    listJobs,
    meta: () => getJson('meta', `/bytes/raw/${session.anyFile().id}/meta`),
    verify,
    evidence: () => ask('evidence', 200, { path: `/bytes/raw/${session.anyFile().id}/evidence` }),
    logIn,
    scrape,
    // A disk that others keep busy may be late once, and is told so.
    health: () =>
      getJson('health', '/health').catch((error) => {
        if (!/within/.test(String(error))) throw error
      }),
    breakOffDownload,
  }
}
