import { BytesError } from '../domain/errors.js'

export interface GroupOptions<T> {
  /** Groups that run at the same time. Fewer make larger groups. */
  readonly concurrency: number
  /** Most that the items of a group weigh together; an item that weighs more goes alone. */
  readonly weight: number
  readonly weigh: (item: T) => number
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
  { concurrency, weight, weigh }: GroupOptions<T>,
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

  /** How many of those that wait are the next group. */
  const fitting = (): number => {
    let [count, total] = [0, 0]
    for (const { item } of queue) {
      total += weigh(item)
      if (total > weight && count > 0) break
      count++
    }
    return count
  }

  const next = async (): Promise<void> => {
    running++
    while (queue.length > 0) await settle(queue.splice(0, fitting()))
    running--
  }

  return (item) =>
    new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject })
      if (running < concurrency) void next()
    })
}
