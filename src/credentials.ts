import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { syncDirectory } from './raw/durable.js'

const schema = z.object({
  username: z.string().min(1),
  password: z.string().min(1),
  secret: z.string().min(1),
})

export type Credentials = z.output<typeof schema>

/**
 * The credentials that were generated in this data directory; undefined when there are none.
 * @throws Error when the file is there and cannot be read or understood
 */
export async function readCredentials(dataDir: string): Promise<Credentials | undefined> {
  const path = credentialsPath(dataDir)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
  return text === undefined ? undefined : parse(text, path)
}

/**
 * Credentials for a service that was given none: made at the first start and kept in
 * `credentials.json` in the data directory, which must exist; only its owner can read the file.
 * @throws Error when the file is there and cannot be read or understood
 */
export async function generatedCredentials(
  dataDir: string,
): Promise<Credentials & { path: string }> {
  const path = credentialsPath(dataDir)
  const existing = await readCredentials(dataDir)
  if (existing !== undefined) return { ...existing, path }
  const credentials = {
    username: 'bytes',
    password: randomBytes(18).toString('base64url'),
    secret: randomBytes(32).toString('base64url'),
  }
  const temporary = `${path}.${process.pid}`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.chmod(0o600)
    await handle.writeFile(`${JSON.stringify(credentials, null, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  await syncDirectory(dataDir)
  return { ...credentials, path }
}

/** Where generated credentials are kept. */
export const credentialsPath = (dataDir: string): string => join(dataDir, 'credentials.json')

function parse(text: string, path: string): Credentials {
  try {
    return schema.parse(JSON.parse(text))
  } catch {
    // The cause would quote the secrets.
    throw new Error(`${path} is damaged: restore it, or delete it to have new credentials made`)
  }
}
