/**
 * Makes load, as a process of its own, so that it does not share an event loop with what it loads.
 * Gets one `LoadSpec` after the other on its IPC channel and sends a `LoadResult` for each.
 *
 * @typedef {object} LoadSpec
 * @property {'floor' | 'job' | 'upload' | 'get'} kind
 * @property {string} url
 * @property {string} token
 * @property {number} connections
 * @property {number} pid of the process that is loaded
 * @property {number} seconds length of the timed part
 * @property {number} warmupSeconds
 * @property {number} [size] of the content, for `floor` and `upload`
 * @property {number} [count] send so many requests, untimed, and give their answers' ids
 * @property {string[]} [paths] for `get`, used one after the other
 * @property {number} [length] of the answers to `get`
 *
 * @typedef {object} LoadResult
 * @property {number} requests answered as expected
 * @property {number} seconds
 * @property {number} p50 milliseconds
 * @property {number} p99 milliseconds
 * @property {number} cpu milliseconds that the loaded process was busy for one request; 0 when unknown
 * @property {number} sent in all, with the warm-up
 * @property {string[]} failures some of them
 * @property {number} failed
 * @property {string[]} ids of what was stored, when `count` was given
 * @property {string[]} jobs whose uploads these were
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { Connection, requestHead } from './connection.mjs'
import { cpuTime } from './process-stats.mjs'

/** Uploads of one job, each with MIME types of its own. */
export const UPLOADS_PER_JOB = 4
/** A stand-in of the same length for an id. */
const NO_ID = '00000000-0000-0000-0000-000000000000'
const ORGANIZATION = 'bench'
const FAILURES_KEPT = 5

/** Makes contents of this process unlike those of any other. */
const nonce = randomBytes(4).toString('hex')
let counter = 0

/** 16 characters that are also base64, never the same. */
function uniqueText() {
  counter += 1
  return nonce + counter.toString(16).padStart(8, '0')
}

/** @typedef {() => Buffer | undefined} NextRequest the request to send, or undefined at the end */

/**
 * One request in a buffer that is used again and again, with some places to write to.
 * @param {string} path
 * @param {Record<string, string>} headers
 * @param {Buffer} body
 */
function template(path, headers, body) {
  const head = requestHead('POST', path, { ...headers, 'content-length': body.length })
  const request = Buffer.concat([Buffer.from(head), body])
  /** @param {string} mark @returns {(text: string) => void} */
  const place = (mark) => {
    const offset = request.indexOf(mark)
    if (offset < 0) throw new Error(`no ${mark} in the request`)
    return (text) => void request.latin1Write(text, offset)
  }
  return { request, place }
}

/** @param {LoadSpec} spec */
function headersOf({ token }) {
  return { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
}

/** @param {LoadSpec} spec @param {string[]} made gets the ids @returns {NextRequest} */
function jobRequests(spec, made) {
  const job = {
    id: NO_ID,
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T00:10:00.123456Z',
    boefje: { id: 'dns-records', version: '1.0' },
    input_ooi: 'Hostname|internet|example.com',
    arguments: { ooi: { object_type: 'Hostname', name: 'example.com' } },
    organization: ORGANIZATION,
  }
  const body = Buffer.from(JSON.stringify(job))
  const { request, place } = template('/bytes/boefje_meta', headersOf(spec), body)
  const writeId = place(NO_ID)
  return () => {
    const id = randomUUID()
    made.push(id)
    writeId(id)
    return request
  }
}

/** @param {LoadSpec} spec @param {() => { job: string, part: number } | undefined} take @returns {NextRequest} */
function uploadRequests(spec, take) {
  const content = randomBytes(spec.size ?? 0).toString('base64')
  const mark = '?'.repeat(16)
  const files = [
    {
      name: 'file',
      content: mark + content.slice(16),
      tags: ['boefje/dns-records', 'bench/part-#'],
    },
  ]
  const body = Buffer.from(JSON.stringify({ files }))
  const path = `/bytes/raw?boefje_meta_id=${NO_ID}`
  const { request, place } = template(path, headersOf(spec), body)
  const [writeJob, writeTag, writeContent] = [place(NO_ID), place('#'), place(mark)]
  return () => {
    const slot = take()
    if (!slot) return undefined
    writeJob(slot.job)
    writeTag(String(slot.part))
    writeContent(uniqueText())
    return request
  }
}

/** @param {LoadSpec} spec @returns {NextRequest} */
function floorRequests(spec) {
  const mark = '?'.repeat(16)
  const body = randomBytes(spec.size ?? 0)
  body.latin1Write(mark)
  const { request, place } = template('/', { 'content-type': 'application/octet-stream' }, body)
  const writeContent = place(mark)
  return () => {
    writeContent(uniqueText())
    return request
  }
}

/** @param {LoadSpec} spec @returns {NextRequest} */
function getRequests(spec) {
  const { authorization } = headersOf(spec)
  const requests = (spec.paths ?? []).map((path) =>
    Buffer.from(requestHead('GET', path, { authorization })),
  )
  let next = Math.floor(Math.random() * requests.length)
  return () => {
    next = (next + 1) % requests.length
    return requests[next]
  }
}

/**
 * Places for uploads, in jobs that are stored beforehand.
 * @param {LoadSpec} spec
 */
function jobSlots(spec) {
  /** @type {string[]} */
  const jobs = []
  let used = 0
  return {
    jobs,
    take: () => {
      const job = jobs[Math.floor(used / UPLOADS_PER_JOB)]
      return job === undefined ? undefined : { job, part: used++ % UPLOADS_PER_JOB }
    },
    /** Makes sure that so many more uploads find a place. @param {number} uploads */
    provide: async (uploads) => {
      const count = Math.ceil((used + uploads) / UPLOADS_PER_JOB) - jobs.length
      if (count <= 0) return
      /** @type {string[]} */
      const made = []
      const source = () => jobRequests(spec, made)
      const run = await drive({ ...spec, kind: 'job' }, source, { count })
      if (run.failed > 0) throw new Error(`jobs could not be stored: ${run.failures.join('; ')}`)
      jobs.push(...made)
    },
  }
}

/**
 * Sends requests on all connections, until the time is up, the count reached or none left.
 * @param {LoadSpec} spec
 * @param {() => NextRequest} source called once for each connection
 * @param {{ seconds?: number, count?: number, keep?: boolean }} limit
 */
async function drive(spec, source, { seconds = Infinity, count = Infinity, keep = false }) {
  const status = spec.kind === 'job' ? 201 : 200
  /** @type {number[]} */
  const latencies = []
  /** @type {Buffer[]} */
  const bodies = []
  /** @type {string[]} */
  const failures = []
  let failed = 0
  let left = count
  const open = []
  for (let i = 0; i < spec.connections; i++) open.push(Connection.open(spec.url))
  const connections = await Promise.all(open)
  const sources = connections.map(source)
  const started = performance.now()
  const deadline = started + seconds * 1000
  let ended = started

  /** @param {Connection} connection @param {NextRequest} next */
  const work = async (connection, next) => {
    while (left > 0 && performance.now() < deadline) {
      const request = next()
      if (!request) return
      left -= 1
      const sentAt = process.hrtime.bigint()
      const answer = await connection.send(request, keep)
      const expected = spec.length === undefined || answer.length === spec.length
      if (answer.status === status && expected) {
        latencies.push(Number(process.hrtime.bigint() - sentAt) / 1e6)
        if (answer.body) bodies.push(answer.body)
      } else {
        fail(`${spec.kind}: status ${answer.status}, ${answer.length} bytes`)
      }
      ended = performance.now()
    }
  }
  /** @param {string} text */
  const fail = (text) => {
    failed += 1
    if (failures.length < FAILURES_KEPT) failures.push(text)
  }
  const workers = connections.map((connection, i) => {
    const next = /** @type {NextRequest} */ (sources[i])
    return work(connection, next).catch((error) => fail(`${spec.kind}: ${error.message}`))
  })
  await Promise.all(workers)
  for (const connection of connections) connection.close()
  return { latencies, bodies, failures, failed, seconds: (ended - started) / 1000 }
}

/** @param {number[]} sorted @param {number} share */
function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

/** @param {LoadSpec} spec */
async function run(spec) {
  const slots = jobSlots(spec)
  const sources = {
    floor: () => floorRequests(spec),
    job: () => jobRequests(spec, []),
    upload: () => uploadRequests(spec, slots.take),
    get: () => getRequests(spec),
  }
  const source = sources[spec.kind]
  if (spec.count !== undefined) {
    if (spec.kind === 'upload') await slots.provide(spec.count)
    const made = await drive(spec, source, { count: spec.count, keep: true })
    const ids = made.bodies.map((body) => Object.values(JSON.parse(body.toString()))[0])
    return { ...result(made, 0), ids, jobs: slots.jobs }
  }
  if (spec.kind === 'upload') await slots.provide(4000 * spec.warmupSeconds)
  const warmup = await drive(spec, source, { seconds: spec.warmupSeconds })
  const rate = warmup.latencies.length / warmup.seconds
  if (spec.kind === 'upload') await slots.provide(Math.ceil(rate * spec.seconds * 1.5) + 100)
  const before = await cpuTime(spec.pid)
  const timed = await drive(spec, source, { seconds: spec.seconds })
  const cpu = ((await cpuTime(spec.pid)) - before) / timed.latencies.length
  timed.failed += warmup.failed
  timed.failures.push(...warmup.failures)
  return { ...result(timed, warmup.latencies.length), cpu }
}

/** @param {Awaited<ReturnType<typeof drive>>} timed @param {number} warmup requests before */
function result({ latencies, failures, failed, seconds }, warmup) {
  latencies.sort((a, b) => a - b)
  return {
    requests: latencies.length,
    seconds,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    cpu: 0,
    sent: latencies.length + warmup,
    failures,
    failed,
    ids: [],
    jobs: [],
  }
}

process.on('message', (/** @type {LoadSpec} */ spec) => {
  run(spec).then(
    (value) => process.send?.({ value }),
    (error) => process.send?.({ error: error.stack }),
  )
})
process.on('disconnect', () => process.exit())
