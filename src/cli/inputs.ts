/** What can be known to be wrong before a command asks the service for anything. */
import { access, constants, stat } from 'node:fs/promises'
import { reasonOf } from '../client/errors.js'
import { LIMITS, MAX_MIME_TYPES } from '../domain/models.js'
import { parseUuid } from '../domain/uuid.js'
import { UsageError } from './command.js'

/** Options of an upload that the service has rules for. */
export interface Checked {
  readonly organization: string | undefined
  readonly job: string | undefined
  readonly tags: readonly string[]
  readonly name: string | undefined
}

/** @throws UsageError for what the service would refuse */
export function checkOptions({ organization, job, tags, name }: Checked): void {
  if (organization !== undefined) {
    checkText('--organization', organization, LIMITS.organization)
    if (organization.includes('/') || organization === '.' || organization === '..') {
      throw new UsageError('--organization must not contain "/", and not be "." or ".."')
    }
  }
  if (job !== undefined && parseUuid(job) === undefined) {
    throw new UsageError('--job must be the id of a job, a UUID')
  }
  if (tags.length > MAX_MIME_TYPES) {
    throw new UsageError(`a file has at most ${MAX_MIME_TYPES} tags`)
  }
  for (const tag of tags) checkText('--tag', tag, LIMITS.mimeType)
  if (name !== undefined) checkText('--name', name, Number.POSITIVE_INFINITY)
}

function checkText(option: string, text: string, max: number): void {
  if (text === '') throw new UsageError(`${option} is empty`)
  if ([...text].length > max) throw new UsageError(`${option} is longer than ${max} characters`)
}

/**
 * Why files cannot be read, one text each. What is no regular file is not opened: to open a pipe
 * waits for who writes to it.
 */
export async function unreadable(files: readonly string[]): Promise<string[]> {
  const problems: string[] = []
  for (const file of files) {
    try {
      if ((await stat(file)).isDirectory()) throw new Error('it is a directory')
      await access(file, constants.R_OK)
    } catch (error) {
      problems.push(`${file} cannot be read: ${reasonOf(error)}`)
    }
  }
  return problems
}
