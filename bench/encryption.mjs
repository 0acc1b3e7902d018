#!/usr/bin/env node
/**
 * Measures what encryption costs: the speed of a service with NACL_SEALBOX against that of one with
 * IDENTITY, in alternating rounds on one machine, and its memory over that at rest.
 */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { generateKeyPair } from '../build/raw/middleware/sealed-box/keys.js'
import { alternate, memoryRow, sizeText, speedRow } from './large-rows.mjs'
import { runCases } from './large-run.mjs'
import { runBench, usageError } from './lifecycle.mjs'

/** @typedef {import('./large-cases.mjs').LargeCase} LargeCase */
/** @typedef {import('./large-rows.mjs').Round} Round */
/** @typedef {import('./large-target.mjs').Setup} Setup */
/** @typedef {import('./large-target.mjs').WarmService} WarmService */
/** @typedef {Awaited<ReturnType<typeof import('./large-target.mjs').startLarge>>} Target */

const USAGE = `Usage: node bench/encryption.mjs [options]

  --rounds N       measurements of each speed, of which the median counts (5)
  --dir PATH       where to put the files, which take 1.3 GiB (the system's temporary directory)
  --node OPTIONS   options of the services' Node.js, separated by spaces, such as
                   --node='--cpu-prof --cpu-prof-dir=/tmp'
  --json           print all figures as one line of JSON as well
`

const MIB = 1024 * 1024
/** Bytes of a file whose speed, and of one whose memory is measured. */
const SIZE = { speed: 64 * MIB, memory: 256 * MIB }
/** The least ratio of the speed to that with IDENTITY. */
const SPEED_TARGET = 0.6
/** Most memory over that of the service at rest, in MiB. */
const MEMORY_TARGET = 64
/** What takes the place of the floor. */
const FLOOR_NAME = 'IDENTITY'

/** @type {Setup} */
const IDENTITY = {
  variables: { BYTES_ENCRYPTION_MIDDLEWARE: FLOOR_NAME },
  storedSize: (size) => size,
}

/** @returns {Setup} */
function sealedBox() {
  const { publicKey, privateKey } = generateKeyPair()
  return {
    variables: {
      BYTES_ENCRYPTION_MIDDLEWARE: 'NACL_SEALBOX',
      BYTES_PUBLIC_KEY_B64: Buffer.from(publicKey).toString('base64'),
      BYTES_PRIVATE_KEY_B64: Buffer.from(privateKey).toString('base64'),
    },
    // An age payload: a nonce of 16 bytes, and a tag of 16 for each chunk of 64 KiB.
    storedSize: (size) => 16 + size + 16 * Math.ceil(size / (64 * 1024)),
  }
}

/** @param {string[]} argv */
function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      rounds: { type: 'string', default: '5' },
      dir: { type: 'string', default: tmpdir() },
      node: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const rounds = Math.floor(Number(values.rounds))
  if (!(rounds >= 1)) throw usageError('--rounds takes a positive number')
  return { ...values, rounds }
}

/** @param {number} rounds @returns {LargeCase[]} */
function encryptionCases(rounds) {
  const [speed, memory] = [SIZE.speed, SIZE.memory].map(sizeText)
  return [
    {
      name: `upload ${speed}`,
      disk: SIZE.speed,
      run: (target) => compare(target, `upload ${speed}`, (both) => uploads(both, rounds)),
    },
    {
      name: `download ${speed}`,
      disk: 2 * SIZE.speed,
      run: (target) => compare(target, `download ${speed}`, (both) => downloads(both, rounds)),
    },
    { name: `upload and download ${memory}`, disk: SIZE.memory, run: memoryOf },
  ]
}

/**
 * Runs a service of each kind at the same time, on the same database and disk.
 * @param {Target} target
 * @param {string} name
 * @param {(both: { plain: WarmService, sealed: WarmService }) => Promise<Round[]>} measure
 */
function compare(target, name, measure) {
  return target.withService(
    (plain) =>
      target.withService(
        async (sealed) => [
          speedRow(name, SIZE.speed, await measure({ plain, sealed }), SPEED_TARGET),
        ],
        sealedBox(),
      ),
    IDENTITY,
  )
}

/** @param {{ plain: WarmService, sealed: WarmService }} both @param {number} rounds */
function uploads({ plain, sealed }, rounds) {
  const upload = async (/** @type {WarmService} */ service) => {
    const measured = await service.upload('octets', SIZE.speed)
    await service.removeBlobs()
    return measured
  }
  return alternate(
    rounds,
    () => upload(plain),
    () => upload(sealed),
    FLOOR_NAME,
  )
}

/** @param {{ plain: WarmService, sealed: WarmService }} both @param {number} rounds */
async function downloads({ plain, sealed }, rounds) {
  const { ids: plainIds } = await plain.upload('octets', SIZE.speed)
  const { ids: sealedIds } = await sealed.upload('octets', SIZE.speed)
  return alternate(
    rounds,
    () => plain.download(plainIds, SIZE.speed),
    () => sealed.download(sealedIds, SIZE.speed),
    FLOOR_NAME,
  )
}

/** The download follows on the same service, with what the upload left in its memory. @param {Target} target */
function memoryOf(target) {
  return target.withService(async (service) => {
    const size = SIZE.memory
    const upload = await service.upload('octets', size)
    const download = await service.download(upload.ids, size)
    return [
      memoryRow(`upload ${sizeText(size)}`, size, [upload], MEMORY_TARGET),
      memoryRow(`download ${sizeText(size)}`, size, [download], MEMORY_TARGET),
    ]
  }, sealedBox())
}

runBench({
  usage: USAGE,
  readOptions,
  run: (options, releases) =>
    runCases(
      {
        title: 'encryption (NACL_SEALBOX)',
        cases: encryptionCases(options.rounds),
        floorName: FLOOR_NAME,
        notes:
          'Speed counts bytes of content. Memory: peak over that of the service at rest, of one file.\n' +
          'CPU s: time that the process was busy, with IDENTITY in brackets.\n',
      },
      options,
      releases,
    ),
})
