import type pg from 'pg'
import { createBlobKeys } from '../meta/blob-keys.js'
import type { KeyRing } from '../raw/middleware/sealed-box/keys.js'

interface KeyStatus {
  readonly key_id: string
  readonly blobs: number
  /** New blobs are sealed to it. */
  readonly current: boolean
  /** The private key is in the settings. */
  readonly private_key: boolean
}

/** Prints the number of blobs for each key, with the keys of the settings. @returns the exit code */
export async function printStatus(pool: pg.Pool, ring: KeyRing, json: boolean): Promise<number> {
  const counts = await createBlobKeys(pool).countByKey()
  const unencrypted = counts.get(null) ?? 0
  const used = [...counts.keys()].filter((keyId) => keyId !== null)
  const current = ring.current?.id
  const known = current === undefined ? ring.keyIds : [current, ...ring.keyIds]
  const keys = [...new Set([...known, ...used])].map((keyId) => ({
    key_id: keyId,
    blobs: counts.get(keyId) ?? 0,
    current: keyId === current,
    private_key: ring.pairOf(keyId) !== undefined,
  }))
  process.stdout.write(
    json ? `${JSON.stringify({ keys, unencrypted })}\n` : table(keys, unencrypted),
  )
  return 0
}

function table(keys: readonly KeyStatus[], unencrypted: number): string {
  const rows = [
    ['key id', 'blobs', 'current', 'private key'],
    ...keys.map((key) => [
      key.key_id,
      String(key.blobs),
      key.current ? 'yes' : 'no',
      key.private_key ? 'here' : 'missing',
    ]),
    ['none', String(unencrypted), '', 'not encrypted'],
  ]
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) => `${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}\n`)
    .join('')
}
