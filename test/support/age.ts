/** Files of age, made and opened with the `age` program and the npm package `age-encryption`. */
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption'

export const hasAge = spawnSync('age', ['--version']).status === 0

export interface AgeKeys {
  /** Made by age, for us to take apart. */
  encrypt(plain: Uint8Array): Buffer
  /** @throws Error with what the program says when it refuses the file */
  decrypt(file: Uint8Array): Buffer
  /** The header of a file whose payload is encrypted under this key of 16 bytes. */
  header(fileKey: Uint8Array): Promise<Buffer>
  /** The key that the payload of a file is encrypted under, and the payload. */
  takeApart(file: Buffer): Promise<{ fileKey: Uint8Array; payload: Buffer }>
  dispose(): Promise<void>
}

/** A new pair of age's own keys. */
export async function ageKeys(): Promise<AgeKeys> {
  const folder = await mkdtemp(join(tmpdir(), 'bytes-test-age-'))
  const identityFile = join(folder, 'identity')
  const identity = await generateX25519Identity()
  const recipient = await identityToRecipient(identity)
  await writeFile(identityFile, `${identity}\n`, { mode: 0o600 })

  const age = (args: string[], input: Uint8Array): Buffer => {
    const { status, stdout, stderr } = spawnSync('age', args, { input, maxBuffer: 2 ** 26 })
    if (status !== 0) throw new Error(stderr.toString())
    return stdout
  }

  return {
    encrypt: (plain) => age(['-r', recipient], plain),
    decrypt: (file) => age(['-d', '-i', identityFile], file),
    header: async (fileKey) => {
      const encrypter = new Encrypter()
      // The first recipient puts our key in the place of the random one, before it is wrapped.
      encrypter.addRecipient({
        wrapFileKey: (random) => {
          random.set(fileKey)
          return []
        },
      })
      encrypter.addRecipient(recipient)
      const file = Buffer.from(await encrypter.encrypt(''))
      return file.subarray(0, headerLength(file))
    },
    takeApart: async (file) => {
      const decrypter = new Decrypter()
      decrypter.addIdentity(identity)
      const length = headerLength(file)
      const fileKey = await decrypter.decryptHeader(file.subarray(0, length))
      return { fileKey, payload: file.subarray(length) }
    },
    dispose: () => rm(folder, { recursive: true, force: true }),
  }
}

/** A header ends with the line of its MAC. */
function headerLength(file: Buffer): number {
  return file.indexOf('\n', file.indexOf('\n--- ') + 1) + 1
}
