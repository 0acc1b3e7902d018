/** The measurements with large files, each to rows of the report. */
import { alternate, memoryRow, sizeText, speedRow } from './large-rows.mjs'

/** @typedef {import('./large-load.mjs').Form} Form */
/** @typedef {import('./large-target.mjs').WarmService} WarmService */
/** @typedef {Awaited<ReturnType<typeof import('./large-target.mjs').startLarge>>} Target */
/** @typedef {import('./large-report.mjs').Row} Row */

/**
 * @typedef {object} LargeCase
 * @property {string} name
 * @property {number} disk bytes of the disk that it takes at most
 * @property {(target: Target) => Promise<Row[]>} run
 */

/** Names, and the least ratios of their speed to the floor's. @type {Record<Form, { name: string, target?: number }>} */
const UPLOADS = {
  octets: { name: 'octet-stream', target: 0.8 },
  form: { name: 'multipart', target: undefined },
  json: { name: 'JSON', target: 0.5 },
}
const DOWNLOAD_TARGET = 0.7
/** Most memory over that of the service at rest, in MiB. */
const MEMORY_TARGET = { one: 64, many: 256 }
const MANY = 16
/** Characters of a content in JSON: more than a string of V8 can have (2^29 - 24). */
const LONG_STRING = 600_000_000

/**
 * @param {{ size: number, rounds: number }} options size of one large file in bytes
 * @returns {LargeCase[]}
 */
export function largeCases({ size, rounds }) {
  const part = Math.ceil(size / 4)
  const forms = /** @type {Form[]} */ (Object.keys(UPLOADS))
  const each = (/** @type {Form} */ form) => UPLOADS[form].name
  return [
    ...forms.map((form) => ({
      name: `upload ${sizeText(size)} ${each(form)}`,
      disk: size,
      run: (/** @type {Target} */ target) => upload(target, form, size, rounds),
    })),
    {
      name: `download ${sizeText(size)}`,
      disk: size,
      run: (target) => download(target, size, rounds),
    },
    ...forms
      .filter((form) => form !== 'form')
      .map((form) => ({
        name: `upload ${MANY} x ${sizeText(part)} ${each(form)}`,
        disk: MANY * part,
        run: (/** @type {Target} */ target) => manyUploads(target, form, part),
      })),
    {
      name: `download ${MANY} x ${sizeText(part)}`,
      disk: MANY * part,
      run: (target) => manyDownloads(target, part),
    },
    {
      name: `JSON string of ${LONG_STRING / 1e6} MB`,
      disk: (LONG_STRING / 4) * 3,
      run: longString,
    },
  ]
}

/** @param {Target} target @param {Form} form @param {number} size @param {number} rounds */
function upload(target, form, size, rounds) {
  const { name, target: least } = UPLOADS[form]
  return target.withService(async (service) => {
    const measured = await alternate(
      rounds,
      () => target.floorUpload(size),
      async () => {
        const one = await service.upload(form, size)
        await service.removeBlobs()
        return one
      },
    )
    return rowsOf(`upload ${sizeText(size)} ${name}`, size, measured, least)
  })
}

/** @param {Target} target @param {number} size @param {number} rounds */
async function download(target, size, rounds) {
  const ids = await target.withService(
    async (service) => (await service.upload('octets', size)).ids,
  )
  return target.withService(async (service) => {
    const [path = ''] = await service.blobs()
    // So that both find it in the page cache.
    await target.floorDownload(path, size)
    const measured = await alternate(
      rounds,
      () => target.floorDownload(path, size),
      () => service.download(ids, size),
    )
    return rowsOf(`download ${sizeText(size)}`, size, measured, DOWNLOAD_TARGET)
  })
}

/** @param {Target} target @param {Form} form @param {number} size */
function manyUploads(target, form, size) {
  return target.withService(async (service) => {
    const measured = await service.upload(form, size, MANY)
    const name = `upload ${MANY} x ${sizeText(size)} ${UPLOADS[form].name}`
    return [memoryRow(name, MANY * size, [measured], MEMORY_TARGET.many)]
  })
}

/** @param {Target} target @param {number} size */
async function manyDownloads(target, size) {
  const ids = await target.withService(
    async (service) => (await service.upload('octets', size, MANY)).ids,
  )
  return target.withService(async (service) => {
    const measured = await service.download(ids, size)
    const name = `download ${MANY} x ${sizeText(size)}`
    return [memoryRow(name, MANY * size, [measured], MEMORY_TARGET.many)]
  })
}

/** @param {Target} target */
function longString(target) {
  return target.withService(async (service) => {
    const { seconds, cpu } = await service.upload('json', (LONG_STRING / 4) * 3)
    /** @type {Row} */
    const row = {
      name: `JSON string of ${LONG_STRING / 1e6} MB`,
      value: `stored, 200 after ${seconds.toFixed(1)} s`,
      target: 'stored',
      met: true,
      cpu,
      rounds: [],
    }
    return [row]
  })
}

/**
 * @param {string} name
 * @param {number} size
 * @param {import('./large-rows.mjs').Round[]} rounds
 * @param {number | undefined} least ratio
 * @returns {Row[]}
 */
function rowsOf(name, size, rounds, least) {
  const services = rounds.map(({ service }) => service)
  return [speedRow(name, size, rounds, least), memoryRow(name, size, services, MEMORY_TARGET.one)]
}
