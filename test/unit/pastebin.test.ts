import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { HashRepository } from '../../src/domain/hash-repository.js'
import { createPastebinRepository } from '../../src/hashing/pastebin.js'
import { hashRepositoryContract } from '../contracts/hash-repository.contract.js'
import { type FakePastebin, startFakePastebin } from '../support/fake-pastebin.js'

const KEY = 'a secret/key+'
const HASH = `sha512:${'0f'.repeat(64)}`

let pastebin: FakePastebin
let repository: HashRepository

const open = (options: { key?: string; baseUrl?: string; timeoutMs?: number } = {}) =>
  createPastebinRepository({ key: KEY, baseUrl: pastebin.url, timeoutMs: 20_000, ...options })

beforeAll(async () => {
  pastebin = await startFakePastebin(KEY)
})
beforeEach(() => {
  pastebin.answer = undefined
  repository = open()
})
afterAll(() => pastebin.close())

hashRepositoryContract('Pastebin', () => repository)

/** What is said of a failure. */
async function failureOf(storing: Promise<string>): Promise<string> {
  const error = await storing.then(
    (link) => expect.fail(`stored as ${link}`),
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ name: 'BytesError', code: 'hash_repository_failed' })
  const { message } = error as Error
  expect(JSON.stringify([message, String((error as Error).cause)])).not.toContain('secret')
  return message
}

describe('Pastebin', () => {
  it('is a third party', () => {
    expect(repository.thirdParty).toBe(true)
    expect(repository.signingProviderUrl).toBe(pastebin.url)
    const other = open({ baseUrl: 'https://pastebin.com/' })
    expect(other.signingProviderUrl).toBe('https://pastebin.com')
    expect(other.recognizes('https://pastebin.com/AbC123')).toBe(true)
  })

  it('gets the hash as a form, and gives the address of the paste', async () => {
    const link = await repository.store(HASH)
    expect(Object.fromEntries(pastebin.forms.at(-1) ?? [])).toEqual({
      api_dev_key: KEY,
      api_option: 'paste',
      api_paste_code: HASH,
    })
    expect(link.startsWith(`${pastebin.url}/`)).toBe(true)
    expect(pastebin.pastes.get(link.slice(pastebin.url.length + 1))).toBe(HASH)
  })

  it('recognizes only addresses of pastes below its own', () => {
    for (const link of [
      'https://elsewhere.example/AbC123',
      `${pastebin.url}.example/AbC123`,
      `${pastebin.url}/../AbC123`,
      `${pastebin.url}/raw/AbC123`,
      `${pastebin.url}/AbC123?x`,
      `${pastebin.url}/AbC123\n`,
      `${pastebin.url}/`,
      pastebin.url,
    ]) {
      expect(repository.recognizes(link), link).toBe(false)
    }
  })

  it('says what Pastebin says when it refuses', async () => {
    expect(await failureOf(open({ key: 'wrong secret' }).store(HASH))).toBe(
      'Pastebin answered (status 200): Bad API request, invalid api_dev_key',
    )
    expect(await failureOf(repository.store(''))).toContain('api_paste_code was empty')
    pastebin.answer = (_, response) => response.end('Post limit, maximum pastes per 24h reached')
    expect(await failureOf(repository.store(HASH))).toContain('maximum pastes per 24h')
  })

  it('repeats no key, no line breaks, nothing endless', async () => {
    pastebin.answer = (_, response) =>
      response
        .writeHead(422)
        .end(`no ${KEY}\r\n\u001b[31m${encodeURIComponent(KEY)} ${'x'.repeat(5000)}`)
    const message = await failureOf(repository.store(HASH))
    expect(message).toMatch(/^Pastebin answered \(status 422\): no \*\*\* \[31m\*\*\* x+\.\.\.$/)
    expect(message.length).toBeLessThan(400)
  })

  it.each([
    ['an address elsewhere', 'https://elsewhere.example/AbC123'],
    ['an address that only begins like its own', 'BASE.example/AbC123'],
    ['a path that leads elsewhere', 'BASE/a/../../b'],
    ['nothing', ''],
  ])('does not take %s for a link', async (_, text) => {
    pastebin.answer = (_, response) => response.end(text.replace('BASE', pastebin.url))
    expect(await failureOf(repository.store(HASH))).toContain('answered (status 200)')
  })

  it('does not follow redirects', async () => {
    const link = await repository.store(HASH)
    let asked = 0
    pastebin.answer = (_, response) => {
      asked += 1
      response.writeHead(302, { location: `${pastebin.url}/raw/x` }).end()
    }
    expect(await failureOf(repository.store(HASH))).toContain('status 302')
    expect(await repository.verify(link, HASH)).toMatchObject([{ passed: null }])
    expect(asked).toBe(2)
  })

  it('gives up when there is no answer, or one without an end', async () => {
    const link = await repository.store(HASH)
    const hasty = open({ timeoutMs: 200 })
    pastebin.answer = () => undefined
    expect(await failureOf(hasty.store(HASH))).toContain('did not answer fully within 200 ms')
    expect(await hasty.verify(link, HASH)).toMatchObject([
      { passed: null, detail: 'Pastebin did not answer fully within 200 ms' },
    ])
    pastebin.answer = (_, response) => response.write('https://')
    expect(await failureOf(hasty.store(HASH))).toContain('did not answer fully')
    pastebin.answer = (_, response) => {
      const more = (): void => {
        while (response.write('x'.repeat(65_536))) if (response.destroyed) return
        response.once('drain', more)
      }
      more()
    }
    expect(await failureOf(repository.store(HASH))).toContain('more than 65536 bytes')
    expect(await repository.verify(link, HASH)).toMatchObject([{ passed: false }])
  })

  it('stops waiting when it is told to', async () => {
    const asked = new Promise<void>((resolve) => {
      pastebin.answer = () => resolve()
    })
    const giveUp = new AbortController()
    const failure = failureOf(repository.store(HASH, giveUp.signal))
    await asked
    giveUp.abort()
    expect(await failure).toContain('was not waited for any longer')
    expect(await failureOf(repository.store(HASH, giveUp.signal))).toContain('not waited for')
  })

  it('cannot tell of a paste when it is not there', async () => {
    const gone = await startFakePastebin(KEY)
    const there = open({ baseUrl: gone.url })
    const link = await there.store(HASH)
    await gone.close()
    expect(await there.verify(link, HASH)).toMatchObject([
      { passed: null, detail: expect.stringContaining('ECONNREFUSED') },
    ])
    expect(await failureOf(there.store(HASH))).toContain('ECONNREFUSED')
  })

  it('tells a paste that is gone or changed from one that cannot be read', async () => {
    const link = await repository.store(HASH)
    const name = link.slice(pastebin.url.length + 1)
    const check = async () => (await repository.verify(link, HASH)).map(({ passed }) => passed)
    expect(await check()).toEqual([true])
    pastebin.pastes.set(name, `${HASH}\n`)
    expect(await check()).toEqual([false])
    pastebin.pastes.delete(name)
    expect(await check()).toEqual([false])
    pastebin.answer = (_, response) => response.writeHead(503).end('later')
    expect(await check()).toEqual([null])
  })
})
