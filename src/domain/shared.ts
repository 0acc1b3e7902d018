/** While `query` runs, everyone who asks gets its answer: it never runs twice at once. */
export function shared<T>(query: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  return () => {
    running ??= query().finally(() => {
      running = undefined
    })
    return running
  }
}
