import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseUuid } from '../../src/domain/uuid.js'

interface Exchange {
  id: string
  request: { path: string; body?: string }
  response: { status: number; json?: { id?: string } }
}

const { exchanges } = JSON.parse(
  readFileSync(new URL('../fixtures/exchanges/exchanges.json', import.meta.url), 'utf8'),
) as { exchanges: Exchange[] }
const recorded = exchanges.filter((e) => e.id.startsWith('bm-uuid-'))
const found = recorded.filter((e) => e.id.endsWith('-get'))
const bad = recorded.filter((e) => e.id.startsWith('bm-uuid-bad-'))

describe('parseUuid', () => {
  it('has recordings', () => {
    expect(found.length).toBe(4)
    expect(bad.length).toBeGreaterThanOrEqual(7)
    expect(bad.every((e) => e.response.status === 422)).toBe(true)
  })

  it.each(found)('$id', (e) => {
    const spelled = decodeURIComponent(e.request.path.split('/').at(-1) ?? '')
    expect(parseUuid(spelled)).toBe(e.response.json?.id)
  })

  it.each(bad)('$id', (e) => {
    const body = JSON.parse(e.request.body ?? '') as { id: unknown }
    expect(parseUuid(body.id)).toBeUndefined()
  })

  it.each([
    '',
    undefined,
    '{f4a83628-4633-50ec-a3fd-6fde21a54e40',
    'f4a83628-4633-50ec-a3fd-6fde21a54e40}',
    'urn:uuid:f4a83628463350eca3fd6fde21a54e40',
    'urn:uuid:{f4a83628-4633-50ec-a3fd-6fde21a54e40}',
    '{urn:uuid:f4a83628-4633-50ec-a3fd-6fde21a54e40}',
    'f4a83628-4633-50ec-a3fd-6fde21a54e40\n',
    'g4a83628-4633-50ec-a3fd-6fde21a54e40',
    'f4a8362-84633-50ec-a3fd-6fde21a54e40',
    'f4a83628463350eca3fd6fde21a54e4',
  ])('refuses %j', (text) => {
    expect(parseUuid(text)).toBeUndefined()
  })

  it('reads every spelling as the same UUID', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.infiniteStream(fc.boolean()),
        (bytes, upper) => {
          const simple = Buffer.from(bytes).toString('hex')
          const uuid = simple.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
          const mixed = (text: string): string =>
            [...text].map((c) => (upper.next().value ? c.toUpperCase() : c)).join('')
          expect(parseUuid(uuid)).toBe(uuid)
          expect(parseUuid(mixed(uuid))).toBe(uuid)
          expect(parseUuid(mixed(simple))).toBe(uuid)
          expect(parseUuid(`{${mixed(uuid)}}`)).toBe(uuid)
          expect(parseUuid(`urn:uuid:${mixed(uuid)}`)).toBe(uuid)
        },
      ),
    )
  })
})
