import { BytesError } from '../domain/errors.js'

export interface GroupOptions {
  /** Groups that run at the same time. Fewer make larger groups. */
  readonly concurrency: number
  /** Most items in a group. */
  readonly size: number
}

interface Waiting<T, R> {
  readonly item: T
  readonly resolve: (result: R) => void
  readonly reject: (error: unknown) => void
}

/**
 * Makes one call out of the items of concurrent callers, so that a statement serves many requests.
 * An item that arrives while the groups run waits for the next one; nobody waits for company.
 * @param run gets a group and gives one result for each item, in order. When it fails for a group,
 *   it is called again for each item alone, so that one bad item fails none of the others.
 */
export function grouped<T, R>(
  { concurrency, size }: GroupOptions,
  run: (items: readonly T[]) => Promise<readonly R[]>,
): (item: T) => Promise<R> {
  const queue: Waiting<T, R>[] = []
  let running = 0

  const settle = async (group: readonly Waiting<T, R>[]): Promise<void> => {
    try {
      const results = await run(group.map(({ item }) => item))
      for (const [i, { resolve }] of group.entries()) resolve(results[i] as R)
    } catch (error) {
      const hopeless = error instanceof BytesError && error.code === 'database_unavailable'
      if (group.length === 1 || hopeless) for (const { reject } of group) reject(error)
      // Not waited for: those that come after must not pay for one that is slow to fail.
      else for (const one of group) void settle([one])
    }
  }

  const next = async (): Promise<void> => {
    running++
    while (queue.length > 0) await settle(queue.splice(0, size))
    running--
  }

  return (item) =>
    new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject })
      if (running < concurrency) void next()
    })
}
