/** What is measured with large files: the service, begun anew for each case, and the floor. */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startEnvironment, startFloor, startLoad } from './environment.mjs'
import { cpuTime, peakMemory, resetPeak, residentMemory } from './process-stats.mjs'

/** @typedef {import('./lifecycle.mjs').Releases} Releases */
/** @typedef {import('./large-load.mjs').Form} Form */
/** @typedef {import('./large-load.mjs').LargeSpec} LargeSpec */
/** @typedef {import('./large-load.mjs').LargeResult} LargeResult */
/** @typedef {Awaited<ReturnType<Awaited<ReturnType<typeof startEnvironment>>['startService']>>} Service */
/** @typedef {LargeResult & { cpu: number }} Measured with CPU seconds of what was loaded */
/** @typedef {Measured & { memory: number | undefined }} MeasuredService with MiB at the peak, over idle */

/**
 * @typedef {object} Setup how a service differs from one with the default settings
 * @property {Record<string, string>} variables of its environment
 * @property {(size: number) => number} storedSize bytes of the file that holds a content of `size` bytes
 */

/** @type {Setup} */
const DEFAULTS = { variables: {}, storedSize: (size) => size }
/** @type {readonly Form[]} */
const FORMS = ['octets', 'form', 'json']
const WARM_UP = { size: 1024 * 1024, times: 3 }
/** Time for the service to come to rest, in ms. */
const PAUSE_MS = 1000

/** The files below a directory, which need not be there. @param {string} directory */
async function filesBelow(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile())
  return files.map(({ parentPath, name }) => join(parentPath, name))
}

/** Removes the files below a directory, and leaves its folders. @param {string} directory */
async function empty(directory) {
  for (const path of await filesBelow(directory)) await rm(path)
}

/**
 * @param {LargeResult} result
 * @throws Error when a request failed
 */
function expectSuccess({ failures }) {
  if (failures.length > 0) throw new Error(`${failures.length} failed, such as: ${failures[0]}`)
}

/** A service that has answered each kind of request before, and is at rest. */
export class WarmService {
  #service
  #load
  #blobs
  #storedSize
  #idle = /** @type {number | undefined} */ (undefined)

  /**
   * @param {Service} service
   * @param {(spec: LargeSpec) => Promise<LargeResult>} load
   * @param {string} dataDir
   * @param {Setup['storedSize']} storedSize
   */
  constructor(service, load, dataDir, storedSize) {
    this.#service = service
    this.#load = load
    this.#blobs = join(dataDir, 'blobs')
    this.#storedSize = storedSize
  }

  async warmUp() {
    const { size, times } = WARM_UP
    const others = new Set(await this.blobs())
    for (let i = 0; i < times; i++) {
      for (const form of FORMS) {
        const { ids } = await this.upload(form, size)
        await this.download(ids, size)
      }
    }
    for (const path of await this.blobs()) if (!others.has(path)) await rm(path)
    await sleep(PAUSE_MS)
    this.#idle = await residentMemory(this.#service.pid)
  }

  /**
   * Uploads new contents at the same time, each for a job of its own.
   * @param {Form} form
   * @param {number} size of each, in bytes
   * @param {number} [count]
   * @throws Error when one fails, or is stored otherwise than sent
   */
  async upload(form, size, count = 1) {
    const before = new Set(await this.blobs())
    const requests = []
    for (let i = 0; i < count; i++) {
      const query = `boefje_meta_id=${await this.#storeJob()}`
      const named = form === 'octets' ? '&name=x&tag=bench/large' : ''
      requests.push({ path: `/bytes/raw?${query}${named}`, form, size })
    }
    const measured = await this.#measure(requests)
    const stored = (await this.blobs()).filter((path) => !before.has(path))
    const sizes = await Promise.all(stored.map(async (path) => (await stat(path)).size))
    const expected = this.#storedSize(size)
    if (sizes.length !== count || sizes.some((stored) => stored !== expected)) {
      throw new Error(
        `${count} files of ${size} bytes were sent, so ${count} of ${expected} bytes belong on the ` +
          `disk; stored are: ${sizes.join(', ')}`,
      )
    }
    return measured
  }

  /**
   * Downloads files at the same time.
   * @param {readonly string[]} ids
   * @param {number} size of each, in bytes
   * @throws Error when one fails or has another length
   */
  async download(ids, size) {
    return this.#measure(ids.map((id) => ({ path: `/bytes/raw/${id}`, size })))
  }

  /** Paths of all that is stored. */
  blobs() {
    return filesBelow(this.#blobs)
  }

  /** Frees the disk behind the service's back. */
  removeBlobs() {
    return empty(this.#blobs)
  }

  /** @param {LargeSpec['requests']} requests @returns {Promise<MeasuredService>} */
  async #measure(requests) {
    const { url, token, pid } = this.#service
    await resetPeak(pid)
    const before = await cpuTime(pid)
    const result = await this.#load({ url, token, requests })
    const cpu = ((await cpuTime(pid)) - before) / 1000
    const peak = await peakMemory(pid)
    expectSuccess(result)
    const memory =
      peak === undefined || this.#idle === undefined ? undefined : Math.max(0, peak - this.#idle)
    return { ...result, cpu, memory }
  }

  async #storeJob() {
    const { url, token } = this.#service
    const job = {
      id: randomUUID(),
      started_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-01T00:10:00Z',
      boefje: { id: 'dns-records', version: '1.0' },
      arguments: {},
      organization: 'bench',
    }
    const answer = await fetch(`${url}/bytes/boefje_meta`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(job),
    })
    if (answer.status !== 201) throw new Error(`a job was answered ${answer.status}`)
    return job.id
  }
}

/**
 * @param {Parameters<typeof startEnvironment>[1]} options
 * @param {Releases} releases
 */
export async function startLarge(options, releases) {
  const { root, dataDir, startService } = await startEnvironment(releases, options)
  const directory = join(root, 'floor')
  await mkdir(directory)
  const floor = await startFloor('large-floor.mjs', [directory], releases)
  /** @type {(spec: LargeSpec) => Promise<LargeResult>} */
  const load = startLoad('large-load.mjs', releases)

  /** @param {LargeSpec['requests'][number]} request @returns {Promise<Measured>} */
  const onFloor = async (request) => {
    const before = await cpuTime(floor.pid)
    const result = await load({ url: floor.url, token: '', requests: [request] })
    const cpu = ((await cpuTime(floor.pid)) - before) / 1000
    expectSuccess(result)
    return { ...result, cpu }
  }
  let logged = ''
  return {
    /** What the services logged. */
    log: () => logged,
    /** Removes all files that were stored. */
    clear: async () => {
      await empty(join(dataDir, 'blobs'))
      await empty(directory)
    },
    floorUpload: async (/** @type {number} */ size) => {
      const measured = await onFloor({ path: '/', form: 'octets', size })
      await empty(directory)
      return measured
    },
    floorDownload: (/** @type {string} */ path, /** @type {number} */ size) =>
      onFloor({ path: encodeURI(path), size }),
    /**
     * Runs something on a service of its own, whose memory nothing else has touched.
     * @template T
     * @param {(service: WarmService) => Promise<T>} use what it stores, a later service finds
     * @param {Setup} [setup]
     */
    withService: async (use, { variables, storedSize } = DEFAULTS) => {
      const service = await startService(variables)
      try {
        const warm = new WarmService(service, load, dataDir, storedSize)
        await warm.warmUp()
        return await use(warm)
      } finally {
        logged += service.log()
        await service.stop()
      }
    },
  }
}
