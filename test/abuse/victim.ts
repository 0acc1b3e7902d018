/** The service that the tests of a file attack. */
import { afterAll, beforeAll, expect } from 'vitest'
import { errorsLogged } from '../acceptance/helpers.js'
import { type Client, login } from '../support/client.js'
import { type TestService, type TestStore, testStore } from '../support/service.js'

export interface Victim {
  readonly store: TestStore
  readonly service: TestService
  readonly url: string
  /** Logged in. */
  readonly client: Client
}

/**
 * Starts a service before the tests of the file, and removes it after them. None of them may have
 * made it log an error.
 */
export function victimOf(environment: Record<string, string> = {}): Victim {
  let started: { store: TestStore; service?: TestService; client?: Client } | undefined
  const ready = <T>(part: T | undefined): T => {
    if (part === undefined) throw new Error('the service has not been started')
    return part
  }
  beforeAll(async () => {
    started = { store: await testStore() }
    started.service = await started.store.start(environment)
    started.client = await login(started.service.url)
  })
  afterAll(async () => {
    try {
      expect(errorsLogged(started?.service?.log() ?? '')).toEqual([])
    } finally {
      await started?.store.remove()
    }
  })
  return {
    get store() {
      return ready(started?.store)
    },
    get service() {
      return ready(started?.service)
    },
    get url() {
      return ready(started?.service).url
    },
    get client() {
      return ready(started?.client)
    },
  }
}
