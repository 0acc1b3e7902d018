import { DrizzleQueryError } from 'drizzle-orm'
import { describe, expect, it } from 'vitest'
import { BytesError } from '../../src/domain/errors.js'
import { domainError, translated } from '../../src/meta/sqlstate.js'

const failure = (code: string, message = 'secret value "x" in table t'): Error =>
  Object.assign(new Error(message), { code })

describe('SQLSTATEs', () => {
  it.each([
    ['23505', 'already_exists'],
    ['23503', 'reference_missing'],
    ['22001', 'invalid_value'],
    ['22003', 'invalid_value'],
    ['22008', 'invalid_value'],
    ['22021', 'invalid_value'],
    ['22P02', 'invalid_value'],
    ['22P05', 'invalid_value'],
    ['54000', 'invalid_value'],
    ['54001', 'invalid_value'],
    ['40001', 'database_conflict'],
    ['40P01', 'database_conflict'],
    ['53100', 'storage_full'],
    ['53300', 'database_unavailable'],
    ['53200', 'database_unavailable'],
    ['57P01', 'database_unavailable'],
    ['57P03', 'database_unavailable'],
    ['57014', 'database_timeout'],
    ['55P03', 'database_timeout'],
    ['58030', 'database_unavailable'],
    ['58P01', 'database_unavailable'],
    ['08006', 'database_unavailable'],
    ['08P01', 'database_unavailable'],
    ['25006', 'database_unavailable'],
    ['25P03', 'database_unavailable'],
    ['42P01', 'database_unavailable'],
    ['42703', 'database_unavailable'],
  ])('%s is %s', (code, expected) => {
    const root = failure(code)
    for (const thrown of [root, new DrizzleQueryError('SELECT $1', ['secret'], root)]) {
      const meaning = domainError(thrown)
      expect(meaning).toBeInstanceOf(BytesError)
      expect(meaning).toMatchObject({ code: expected, cause: root })
      expect(meaning instanceof Error && meaning.message).not.toMatch(/secret|table/)
    }
  })

  it.each(['42601', '28P01', '3D000', '23502', '22012', '25P02', 'XX000'])(
    '%s is no expected failure',
    (code) => {
      const root = failure(code)
      expect(domainError(root)).toBe(root)
      expect(domainError(new DrizzleQueryError('SELECT 1', [], root))).toBe(root)
    },
  )
})

describe('errors without an SQLSTATE', () => {
  it.each(['EIO', 'EMFILE', 'ENOBUFS'])('%s of a system call is database_unavailable', (code) => {
    const root = Object.assign(failure(code), { syscall: 'connect' })
    expect(domainError(root)).toMatchObject({ code: 'database_unavailable', cause: root })
    expect(domainError(failure(code))).not.toBeInstanceOf(BytesError)
  })

  it.each([
    'ECONNREFUSED',
    'ECONNRESET',
    'ENOENT',
    'ENOTFOUND',
    'EAI_AGAIN',
    'EPIPE',
    'ETIMEDOUT',
    'EHOSTUNREACH',
  ])('of sockets mean that the database cannot be reached: %s', (code) => {
    expect(domainError(failure(code))).toMatchObject({ code: 'database_unavailable' })
  })

  it.each([
    'Connection terminated unexpectedly',
    'Connection terminated due to connection timeout',
    'timeout exceeded when trying to connect',
    'Client has encountered a connection error and is not queryable',
    'Cannot use a pool after calling end on the pool',
    'Client was closed and is not queryable',
  ])('of the driver too: %s', (message) => {
    const root = new Error(message)
    expect(domainError(root)).toMatchObject({ code: 'database_unavailable', cause: root })
    expect(domainError(new DrizzleQueryError('SELECT 1', [], root))).toMatchObject({
      code: 'database_unavailable',
    })
  })

  it('of several addresses of one host too', () => {
    const all = Object.assign(new AggregateError([failure('ECONNREFUSED')]), {
      code: 'ECONNREFUSED',
    })
    expect(domainError(all)).toMatchObject({ code: 'database_unavailable' })
  })

  it('that nobody knows stay as they are', () => {
    for (const error of [new TypeError('x is undefined'), 'text', undefined, failure('E_OTHER')]) {
      expect(domainError(error)).toBe(error)
    }
    const known = new BytesError('blob_missing', 'gone')
    expect(domainError(known)).toBe(known)
    expect(domainError(new DrizzleQueryError('SELECT 1', [], known))).toBe(known)
  })
})

it('translates what a query throws, and nothing else', async () => {
  expect(await translated(async () => 7)).toBe(7)
  const rejected = translated(() => Promise.reject(failure('40P01')))
  await expect(rejected).rejects.toMatchObject({ code: 'database_conflict' })
})
