/** The section *Client library* of docs/api.md tells of all that the client has. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { type BytesClient, type ClientErrorCode, createClient } from '../../src/client/client.js'

const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')
const section = page.slice(page.indexOf('\n## Client library\n') + 1)

/** The names in the first column of the table that begins with this. */
function namesIn(head: string): string[] {
  const table = section.slice(section.indexOf(`| ${head} |`)).split('\n\n')[0] ?? ''
  const cells = table.split('\n').slice(2)
  return cells.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, n]) => n ?? ''),
  )
}

it('has every code of an error', () => {
  // As an object, so that none can be left out.
  const codes: Record<ClientErrorCode, true> = {
    invalid_argument: true,
    unauthorized: true,
    not_found: true,
    refused: true,
    too_large: true,
    rate_limited: true,
    unavailable: true,
    storage_full: true,
    server_error: true,
    network: true,
    incomplete: true,
    digest_mismatch: true,
    content_differs: true,
    source_failed: true,
    target_failed: true,
    target_exists: true,
    unexpected_answer: true,
    not_a_service: true,
    aborted: true,
  }
  expect(namesIn('code').sort()).toEqual(Object.keys(codes).sort())
})

it('has every method', () => {
  const client: BytesClient = createClient({ url: 'http://host', token: 't' })
  expect(namesIn('method').sort()).toEqual(Object.keys(client).sort())
})
