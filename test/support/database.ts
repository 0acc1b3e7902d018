import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { type Database, openDatabase } from '../../src/meta/client.js'
import { createDatabase, dropDatabase, silentLog } from './postgres.js'
import { TEMPLATE } from './template.js'

/** An empty database with all migrations, as the program's own pool. */
export async function testDatabase(): Promise<Database & { uri: string }> {
  const name = `test_${randomBytes(8).toString('hex')}`
  const admin = inject('postgresUri')
  const uri = await createDatabase(admin, name, TEMPLATE)
  const database = openDatabase(uri, 16, silentLog)
  return {
    ...database,
    uri,
    close: async () => {
      await database.close()
      await dropDatabase(admin, name)
    },
  }
}
