import { DrizzleQueryError } from 'drizzle-orm'
import { BytesError, type ErrorCode } from '../domain/errors.js'

/**
 * SQLSTATE to domain error; a row of two characters stands for its whole class (PostgreSQL
 * manual, appendix A). The text is for clients: it names no table and no value.
 */
const SQLSTATES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  '23505': ['already_exists', 'an object with this id exists already'],
  '23503': ['reference_missing', 'the object refers to one that does not exist'],
  '22001': ['invalid_value', 'a value is too long'],
  '22003': ['invalid_value', 'a number is out of range'],
  '22008': ['invalid_value', 'a time is out of range'],
  '22021': ['invalid_value', 'a string holds a character that cannot be stored'],
  '22P02': ['invalid_value', 'a value is malformed'],
  '22P05': ['invalid_value', 'a string holds a character that cannot be stored'],
  '54001': ['invalid_value', 'a value is nested too deeply'],
  '54000': ['invalid_value', 'a value is too large'],
  '40001': ['database_conflict', 'the database refused the order of concurrent changes'],
  '40P01': ['database_conflict', 'concurrent changes waited for each other'],
  '55P03': ['database_timeout', 'the database has the row locked for too long'],
  '57014': ['database_timeout', 'the database took too long'],
  '53100': ['storage_full', "the database's disk is full"],
  '53': ['database_unavailable', 'the database lacks resources'],
  '57': ['database_unavailable', 'the database was stopped or cancelled the statement'],
  '58': ['database_unavailable', 'the database met a system error'],
  '08': ['database_unavailable', 'the connection to the database was lost'],
  '42P01': ['database_unavailable', 'the database lacks a migration: run `bytes migrate`'],
  '42703': ['database_unavailable', 'the database lacks a migration: run `bytes migrate`'],
  '25P03': ['database_unavailable', 'the connection to the database was idle for too long'],
  '25006': ['database_unavailable', 'the database is read-only'],
}

const SOCKET_ERRORS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
])

/** Messages that `pg` throws without a code. */
const LOST = /terminat|timeout|not queryable|closed|Cannot use a pool after/i

/** What Postgres or the driver threw: drizzle wraps it in one that quotes every parameter. */
function rootOf(error: unknown): unknown {
  return error instanceof DrizzleQueryError && error.cause !== undefined ? error.cause : error
}

/** What a failed query means in the product's terms; an error of no known kind comes back as it is. */
export function domainError(error: unknown): unknown {
  const root = rootOf(error)
  if (root instanceof BytesError || !(root instanceof Error)) return root
  const code = 'code' in root && typeof root.code === 'string' ? root.code : ''
  const row = SQLSTATES[code] ?? SQLSTATES[code.length === 5 ? code.slice(0, 2) : '']
  if (row) return new BytesError(row[0], row[1], { cause: root })
  // Of the process's own socket: whatever it was, the database was not reached.
  const isSystemError = 'syscall' in root
  if (isSystemError || SOCKET_ERRORS.has(code) || (code === '' && LOST.test(root.message))) {
    return new BytesError('database_unavailable', 'the database cannot be reached', { cause: root })
  }
  return root
}

/** Runs a query and turns its failure into a domain error. */
export async function translated<T>(query: () => Promise<T>): Promise<T> {
  try {
    return await query()
  } catch (error) {
    throw domainError(error)
  }
}
