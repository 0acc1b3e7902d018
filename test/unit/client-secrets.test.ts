/** No password and no token gets into an error of the client, nor into what Node shows with it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BytesClientError, type ClientOptions, createClient } from '../../src/client/client.js'
import { bodyOf, FAKE_USER, type FakeBytes, startFakeBytes } from '../support/fake-bytes.js'

const JOB = '00000000-0000-4000-8000-000000000000'
const SECRET = 'eyJ-SECRET'

let fake: FakeBytes

beforeEach(async () => {
  fake = await startFakeBytes()
})
afterEach(() => fake.close())

const pause = async (): Promise<void> => undefined

/** The error of a call, in which nothing may be found of the secret. */
async function failureOf(call: () => Promise<unknown>): Promise<BytesClientError> {
  const error = await call().then(
    () => undefined,
    (found: unknown) => found,
  )
  if (!(error instanceof BytesClientError)) throw new Error(`no client error: ${error}`)
  const shown = `${error.stack} ${JSON.stringify(error)} ${inspect(error, { depth: 20, showHidden: true })}`
  expect(shown).not.toContain(SECRET)
  return error
}
/** As plain JavaScript may call it. */
const clientOf = (options: Record<string, unknown>) =>
  createClient({ url: fake.url, pause, ...options } as unknown as ClientOptions)
const ask = (options: Record<string, unknown>) =>
  failureOf(async () => clientOf(options).rawFile(JOB))

describe('a token', () => {
  it.each([
    `${SECRET}\n.sig`,
    `${SECRET}\r.sig`,
    `${SECRET}\0`,
    `${SECRET} .sig`,
    `${SECRET}ñ`,
    `${SECRET}\u{1f511}`,
    '',
    ' \n',
    null,
    5,
    [SECRET],
    { token: SECRET },
    Symbol(SECRET),
  ])('that cannot be sent is refused before it is: %j', async (token) => {
    expect(await ask({ token })).toMatchObject({
      code: 'invalid_argument',
      message: 'the token must be a string of visible ASCII characters',
    })
    expect(fake.requests).toEqual([])
  })

  it('may have space around it, such as the line break of its file', async () => {
    fake.tokens.add(SECRET)
    expect((await clientOf({ token: ` ${SECRET}\r\n` }).getJob(JOB)).id).toBe(JOB)
  })

  it('that the service gives and that cannot be sent is none', async () => {
    fake.interceptors.add((request, response) => {
      if (request.url !== '/token') return false
      response.end(JSON.stringify({ access_token: `${SECRET}\n.sig` }))
      return true
    })
    expect((await ask(FAKE_USER)).code).toBe('not_a_service')
  })

  it('is not told when it is sent back', async () => {
    fake.interceptors.add((request, response) => {
      const { authorization = '' } = request.headers
      response.writeHead(422, { 'x-request-id': authorization.slice(7) }).end(authorization)
      return true
    })
    const error = await ask({ token: SECRET })
    expect(error).toMatchObject({ code: 'refused', serverText: '', requestId: undefined })
    expect(error.message).toBe(
      `the request was not accepted: GET /bytes/raw/${JOB}/meta (HTTP 422)`,
    )
  })

  it('is not told by a redirect', async () => {
    fake.interceptors.add((_, response) => {
      response.writeHead(302, { location: `/log-in?token=${SECRET}` }).end()
      return true
    })
    expect((await ask({ token: SECRET })).status).toBe(302)
  })
})

describe('a password', () => {
  it.each([
    SECRET,
    `${SECRET}\n\r\0`,
    `${SECRET} &=%+ñ\u{1f511}`,
    `${SECRET}\ud800`,
    `"${SECRET}"\\`,
    `${SECRET}${'x'.repeat(100_000)}`,
  ])('of any characters is sent, and not told when it is wrong (%#)', async (password) => {
    let sent: string | null = null
    fake.interceptors.add(async (request, response) => {
      const body = (await bodyOf(request)).toString()
      sent = new URLSearchParams(body).get('password')
      response.writeHead(401).end(body)
      return true
    })
    const error = await ask({ username: `${SECRET}\n\0`, password })
    expect(error).toMatchObject({ code: 'unauthorized', serverText: '' })
    expect(sent).toBe(password.toWellFormed())
  })

  it.each(['plain', 'quoted'])('that is sent back %s is not told', async (way) => {
    const password = `${SECRET}"\\ &`
    fake.interceptors.add((_, response) => {
      const detail = way === 'plain' ? password : JSON.stringify({ password })
      response.writeHead(422).end(JSON.stringify({ detail: `wrong: ${detail}` }))
      return true
    })
    expect((await ask({ username: 'u', password })).serverText).toBe('')
  })

  it.each([
    { username: undefined, password: SECRET },
    { username: SECRET, password: undefined },
    { username: 'u', password: null },
    { username: 'u', password: 5 },
    { username: 'u', password: [SECRET] },
    { username: 'u', password: Symbol(SECRET) },
    { username: { toString: () => SECRET }, password: 'p' },
    { token: undefined },
    {},
  ])('must be a string, as its username: %j', async (credentials) => {
    expect((await ask(credentials)).code).toBe('invalid_argument')
    expect(fake.requests).toEqual([])
  })
})

describe('a URL with credentials in it', () => {
  it.each([
    `http://u:${SECRET}@host`,
    `http://${SECRET}@host`,
    `http://u:${SECRET}@ho st`,
    `u:${SECRET}@host`,
    `//u:${SECRET}@host`,
  ])('is not told when it is that of the service', async (url) => {
    expect((await ask({ url, token: 't' })).code).toBe('invalid_argument')
  })

  it('is not told when it is that of an upload', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'bytes-test-client-'))
    try {
      const path = join(folder, 'file')
      await writeFile(path, 'x')
      const resumeFrom = `${fake.url.replace('http://', `http://u:${SECRET}@`)}/bytes/uploads/x`
      const client = clientOf(FAKE_USER)
      const error = await failureOf(() => client.uploadResumable({ jobId: JOB, path, resumeFrom }))
      expect(error.code).toBe('unexpected_answer')
      expect(fake.requests).toEqual([])
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('is not told when it is that of the next page', async () => {
    const next = `${fake.url.replace('http://', `http://u:${SECRET}@`)}/bytes/raw`
    fake.interceptors.add((request, response) => {
      if (request.url === '/token') return false
      response.writeHead(200, { link: `<${next}>; rel="next"` }).end('[]')
      return true
    })
    const list = clientOf(FAKE_USER).listRawFiles()[Symbol.asyncIterator]()
    expect((await failureOf(() => list.next())).code).toBe('unexpected_answer')
  })
})

describe('what sends back all that it gets', () => {
  let echo: Server
  let url: string

  beforeEach(async () => {
    echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
    const address = echo.address()
    if (typeof address !== 'object' || address === null) throw new Error('no port')
    url = `http://127.0.0.1:${address.port}`
  })
  afterEach(() => new Promise((resolve) => echo.close(resolve)))

  // Node keeps what it cannot parse as a property of the cause of the cause.
  it.each([{ username: 'u', password: SECRET }, { token: SECRET }])(
    'is a network error, with a cause that tells nothing: %j',
    async (credentials) => {
      const error = await ask({ url, ...credentials })
      expect(error.code).toBe('network')
      expect(error.cause).toBeInstanceOf(Error)
    },
  )
})
