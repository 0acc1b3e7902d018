import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { createDatabase, dropDatabase, silentLog } from './postgres.js'
import { TEMPLATE } from './template.js'

/**
 * An empty database with all migrations, as the program's own pool.
 * @param options of its sessions, such as `-c work_mem=1MB`
 */
export async function testDatabase(options?: string): Promise<Database & { uri: string }> {
  const name = `test_${randomBytes(8).toString('hex')}`
  const admin = inject('postgresUri')
  const url = new URL(await createDatabase(admin, name, TEMPLATE))
  if (options !== undefined) url.searchParams.set('options', options)
  const database = openDatabase(url.href, 16, silentLog)
  return {
    ...database,
    uri: url.href,
    close: async () => {
      await database.close()
      await dropDatabase(admin, name)
    },
  }
}
