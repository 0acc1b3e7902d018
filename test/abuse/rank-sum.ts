/** Whether two samples of times are of one kind. */

/**
 * How far apart two samples are by the rank-sum test of Mann and Whitney, in standard deviations:
 * above 0 when the first has the greater values. Equal values share the mean of their ranks.
 */
export function rankSum(first: readonly number[], second: readonly number[]): number {
  const all = [
    ...first.map((value) => ({ value, own: 1 })),
    ...second.map((value) => ({ value, own: 0 })),
  ]
  all.sort((a, b) => a.value - b.value)
  let ranks = 0
  let tied = 0
  for (let start = 0; start < all.length; ) {
    let end = start
    let own = 0
    for (; end < all.length && all[end]?.value === all[start]?.value; end++)
      own += all[end]?.own ?? 0
    const equal = end - start
    // Ranks begin at 1.
    ranks += own * ((start + 1 + end) / 2)
    tied += equal ** 3 - equal
    start = end
  }
  const [n, m] = [first.length, second.length]
  const size = n + m
  const u = ranks - (n * (n + 1)) / 2
  const variance = ((n * m) / 12) * (size + 1 - tied / (size * (size - 1)))
  return (u - (n * m) / 2) / Math.sqrt(variance)
}

/** Between what a quarter of the values is below and what a quarter is above. */
export function spread(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.floor(share * sorted.length)] ?? 0
  return at(0.75) - at(0.25)
}
