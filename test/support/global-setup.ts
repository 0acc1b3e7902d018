/** One throwaway Postgres and one RabbitMQ for the whole run, and a build for the tests that start the real program. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'
import { applyMigrations } from '../../src/meta/migrator.js'
import { collectReports } from './fault-report.js'
import { createDatabase, startTestPostgres } from './postgres.js'
import { startTestRabbitMQ, type TestBroker } from './rabbitmq.js'
import { TEMPLATE } from './template.js'

/** Virtual hosts: test files that use the broker must not see each other's queue. */
const VHOSTS = [
  'relay',
  'replay',
  'broker_down',
  'kills',
  'contract',
  'lifecycle',
  'syscalls',
  'instances',
  'frozen',
  'sigterm',
  'soak',
  'backup',
  'clock',
  'clocks',
  'postgres',
] as const
export type Vhost = (typeof VHOSTS)[number]

declare module 'vitest' {
  export interface ProvidedContext {
    postgresUri: string
    brokerUris: Record<Vhost, string>
  }
}

/** The unit tests need neither: `make utest` sets this. */
const onlyUnit = process.env.BYTES_TEST_ONLY === 'unit'

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (onlyUnit) return async () => undefined
  const root = fileURLToPath(new URL('../..', import.meta.url))
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' })
  const printReports = collectReports()
  const started = await Promise.allSettled([startTestPostgres(), startTestRabbitMQ()])
  const stop = async (): Promise<void> => {
    for (const service of started) if (service.status === 'fulfilled') await service.value.stop()
    printReports()
  }
  try {
    const postgres = startedOne(started[0])
    const broker = startedOne(started[1])
    await applyMigrations(await createDatabase(postgres.uri, TEMPLATE))
    const uris = await Promise.all(
      VHOSTS.map(async (name) => [name, await createVhost(broker, name)] as const),
    )
    project.provide('postgresUri', postgres.uri)
    project.provide('brokerUris', Object.fromEntries(uris) as Record<Vhost, string>)
  } catch (error) {
    await stop()
    throw error
  }
  return stop
}

function startedOne<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason
  return result.value
}

async function createVhost(broker: TestBroker, name: Vhost): Promise<string> {
  const result = await broker.evaluate(
    `rabbit_vhost:add(<<"${name}">>, <<"tests">>), ` +
      `rabbit_auth_backend_internal:set_permissions(` +
      `<<"guest">>, <<"${name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)`,
  )
  if (result !== 'ok') throw new Error(`the virtual host ${name} could not be made: ${result}`)
  return `${broker.uri}/${name}`
}
