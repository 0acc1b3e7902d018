/** Mixed traffic, as schedulers, runners and auditors make it together. */
import { createReads } from './soak-reads.mjs'
import { createSession } from './soak-session.mjs'
import { createUploads } from './soak-uploads.mjs'

/** Stored before the traffic begins, so that there is something to read. */
const FIRST = 20

/**
 * @param {Parameters<typeof createSession>[0]} target
 */
export function createTraffic(target) {
  const session = createSession(target)
  const up = createUploads(session)
  const read = createReads(session)
  /** What is done how often, of all together. @type {[weight: number, act: () => Promise<unknown>][]} */
  const acts = [
    [8, up.storeJob],
    [12, up.uploadJson],
    [10, up.uploadForm],
    [10, up.uploadOctets],
    [4, up.uploadResumable],
    [4, up.storeNormalizer],
    [1, up.breakOffUpload],
    [16, read.download],
    [3, read.downloadBlob],
    [12, read.downloadRange],
    [6, read.listFiles],
    [2, read.followList],
    [3, read.listJobs],
    [4, read.meta],
    [4, read.verify],
    [1, read.evidence],
    [1, read.logIn],
    [0.5, read.scrape],
    [1, read.health],
    [1, read.breakOffDownload],
  ]
  const all = acts.reduce((sum, [weight]) => sum + weight, 0)
  const choose = () => {
    let left = Math.random() * all
    for (const [weight, act] of acts) {
      left -= weight
      if (left < 0) return act
    }
    return up.storeJob
  }

  return {
    acknowledged: session.acknowledged,
    close: session.http.close,
    /** Acts on all connections until the time is over. @param {number} seconds */
    run: async (seconds) => {
      for (let i = 0; i < FIRST; i++) await up.storeJob()
      for (let i = 0; i < FIRST; i++) await up.uploadOctets()
      const deadline = performance.now() + seconds * 1000
      const work = async () => {
        while (performance.now() < deadline) {
          const act = choose()
          await act().catch((error) => target.tally.fail(`${act.name}: ${error.message}`))
        }
      }
      await Promise.all(Array.from({ length: target.connections }, work))
    },
  }
}
