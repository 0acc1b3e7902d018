/** Pastebin as far as secure hashes go to it: `api_post.php`, and `/raw/`. */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface FakePastebin {
  readonly url: string
  /** Texts by the key of the paste. */
  readonly pastes: Map<string, string>
  /** Bodies of the requests. */
  readonly forms: URLSearchParams[]
  /** Answers in place of Pastebin. */
  answer: Answer | undefined
  close(): Promise<void>
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return Buffer.concat(pieces).toString()
}

/** @param key the only developer key that it knows */
export async function startFakePastebin(key: string): Promise<FakePastebin> {
  const pastes = new Map<string, string>()
  const forms: URLSearchParams[] = []

  const post = (form: URLSearchParams, response: ServerResponse): void => {
    forms.push(form)
    const text = form.get('api_paste_code') ?? ''
    if (form.get('api_dev_key') !== key) response.end('Bad API request, invalid api_dev_key')
    else if (form.get('api_option') !== 'paste') response.end('Bad API request, invalid api_option')
    else if (text === '') response.end('Bad API request, api_paste_code was empty')
    else {
      const name = randomBytes(4).toString('hex')
      pastes.set(name, text)
      response.end(`${fake.url}/${name}`)
    }
  }
  const server = createServer(async (request, response) => {
    if (fake.answer !== undefined) return fake.answer(request, response)
    const { method, url = '/', headers } = request
    const text = pastes.get(url.replace(/^\/raw\//, ''))
    const isForm = headers['content-type'] === 'application/x-www-form-urlencoded'
    if (method === 'POST' && url === '/api/api_post.php' && isForm) {
      post(new URLSearchParams(await bodyOf(request)), response)
    } else if (method === 'GET' && text !== undefined) response.end(text)
    else response.writeHead(404).end('Error, paste key is not valid.')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const fake: FakePastebin = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pastes,
    forms,
    answer: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return fake
}
