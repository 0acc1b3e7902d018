import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createClient } from '../../src/client/client.js'
import { FAKE_USER, type FakeBytes, refuse, startFakeBytes } from '../support/fake-bytes.js'

const ID = '2f3b4583-c9c7-4715-a83a-0e85bf2e4efd'
const BUNDLE = randomBytes(300_000)

let fake: FakeBytes
let folder: string
let client: ReturnType<typeof createClient>

beforeEach(async () => {
  fake = await startFakeBytes()
  folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
  client = createClient({ url: fake.url, ...FAKE_USER, pause: async () => undefined })
})
afterEach(async () => {
  await fake.close()
  await rm(folder, { recursive: true, force: true })
})

/** Answers with the bundle, of which the first answers break off after so many bytes. */
function serve(...breaks: number[]): void {
  fake.interceptors.add((request, response) => {
    if (request.url !== `/bytes/raw/${ID}/evidence`) return false
    response.writeHead(200, { 'content-length': BUNDLE.length })
    const end = breaks.shift()
    if (end === undefined) response.end(BUNDLE)
    else response.write(BUNDLE.subarray(0, end), () => setTimeout(() => response.destroy(), 20))
    return true
  })
}
const asked = (): number => fake.sent(`GET /bytes/raw/${ID}/evidence`).length

describe('an evidence bundle', () => {
  it('is written to a file, and its progress is told', async () => {
    serve()
    const path = join(folder, 'e.zip')
    const seen: { received: number; total: number }[] = []
    const onProgress = (p: { received: number; total: number }): void => void seen.push(p)
    expect(await client.evidence(ID, path, { onProgress })).toEqual({ size: BUNDLE.length })
    expect((await readFile(path)).equals(BUNDLE)).toBe(true)
    expect(seen.at(-1)).toMatchObject({ received: BUNDLE.length, total: BUNDLE.length })
  })

  it('is begun again when it breaks off', async () => {
    serve(1, 200_000)
    const path = join(folder, 'e.zip')
    await client.evidence(ID, path)
    expect((await readFile(path)).equals(BUNDLE)).toBe(true)
    expect(asked()).toBe(3)
  })

  it('is given up when it breaks off again and again', async () => {
    serve(10, 10, 10, 10, 10)
    const path = join(folder, 'e.zip')
    await expect(client.evidence(ID, path)).rejects.toMatchObject({ code: 'incomplete' })
    expect([asked(), await readdir(folder)]).toEqual([3, []])
  })

  it('is not begun again on a stream that has got a part', async () => {
    serve(200_000)
    const stream = new PassThrough()
    const got = buffer(stream)
    await expect(client.evidence(ID, stream)).rejects.toMatchObject({ code: 'incomplete' })
    stream.end()
    expect((await got).length).toBeLessThan(BUNDLE.length)
    expect(asked()).toBe(1)
  })

  describe('that breaks off again and again', () => {
    const TEXT = `Raw file ${ID} cannot be read: chunk 30 of its encrypted content is wrong`
    /** Answers the verification that is asked for. */
    const verified = (answer: unknown): void => {
      fake.interceptors.add((request, response) => {
        if (request.url !== `/bytes/raw/${ID}/verify`) return false
        if (typeof answer === 'number') return refuse(response, answer, 'no')
        response.end(typeof answer === 'string' ? answer : JSON.stringify(answer))
        return true
      })
    }
    const check = (name: string, passed: unknown, detail: unknown) => ({ name, passed, detail })

    it('tells what is wrong with its content', async () => {
      serve(10, 10, 10)
      verified({
        verdict: 'failed',
        checks: [check('content_digest', false, TEXT), check('secure_hash', null, 'no')],
      })
      const broken = fake.requests.length + 4
      const error = await client.evidence(ID, join(folder, 'e.zip')).catch((found) => found)
      expect(error).toMatchObject({
        code: 'incomplete',
        message: `${TEXT} (request request-${broken})`,
        serverText: TEXT,
        requestId: `request-${broken}`,
        cause: { message: expect.stringContaining('the content broke off: ') },
      })
      // It is that of the break, at which the service has logged the damage.
      expect(fake.requests[broken - 1]?.path).toBe(`/bytes/raw/${ID}/evidence`)
      expect(await readdir(folder)).toEqual([])
    })

    it('tells it also of a stream, which cannot be begun again', async () => {
      serve(200_000)
      verified({ checks: [check('content_digest', false, TEXT)] })
      const stream = new PassThrough().resume()
      await expect(client.evidence(ID, stream)).rejects.toMatchObject({ serverText: TEXT })
      expect(asked()).toBe(1)
    })

    it.each([
      [500],
      ['html'],
      [null],
      [{}],
      [{ checks: 5 }],
      [{ checks: [null, 5, {}] }],
      [{ checks: [check('content_digest', true, 'fine'), check('secure_hash', false, 'other')] }],
      [{ checks: [check('content_digest', false, 5)] }],
    ])('names the raw file when %j says nothing of it', async (answer) => {
      serve(10, 10, 10)
      verified(answer)
      await expect(client.evidence(ID, join(folder, 'e.zip'))).rejects.toMatchObject({
        code: 'incomplete',
        message: expect.stringMatching(
          new RegExp(
            `^the evidence bundle of raw file ${ID} did not come whole: the content broke off: .+ \\(request request-4\\)$`,
          ),
        ),
        serverText: undefined,
        requestId: 'request-4',
      })
    })

    it('does not ask on when it is called off', async () => {
      serve(10, 10, 10)
      const controller = new AbortController()
      fake.interceptors.add((request) => {
        if (!request.url?.endsWith('/verify')) return false
        controller.abort()
        return true
      })
      const { signal } = controller
      await expect(client.evidence(ID, join(folder, 'e.zip'), { signal })).rejects.toMatchObject({
        code: 'aborted',
      })
    })
  })

  it('leaves a file that is there', async () => {
    serve()
    const path = join(folder, 'e.zip')
    await writeFile(path, 'mine')
    await expect(client.evidence(ID, path, { overwrite: false })).rejects.toMatchObject({
      code: 'target_exists',
    })
    expect(await readFile(path, 'utf8')).toBe('mine')
  })

  it('must tell its length', async () => {
    fake.interceptors.add((request, response) => {
      if (!request.url?.endsWith('/evidence')) return false
      response.write(BUNDLE)
      response.end()
      return true
    })
    const path = join(folder, 'e.zip')
    await expect(client.evidence(ID, path)).rejects.toMatchObject({ code: 'unexpected_answer' })
    expect(await readdir(folder)).toEqual([])
  })

  it('is refused for a raw file that is not there', async () => {
    fake.interceptors.add((request, response) =>
      request.url?.endsWith('/evidence') ? refuse(response, 404, 'No raw data found') : false,
    )
    await expect(client.evidence(ID, join(folder, 'e.zip'))).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})
