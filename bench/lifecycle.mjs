/** A bench from its command line to its exit code, with nothing left behind, also on Ctrl-C. */

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */

/** Ends everything in reverse order of its start, whatever happens in between. */
export class Releases {
  /** @type {(() => unknown)[]} */
  #stack = []
  /** @type {Set<ChildProcess>} */
  #children = new Set()
  /** @type {Promise<void> | undefined} */
  #released

  /** @param {() => unknown} release */
  add(release) {
    this.#stack.push(release)
  }

  /** Notes a process, so that it is killed at the latest when this one exits. @param {ChildProcess} child */
  child(child) {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
  }

  release() {
    this.#released ??= this.#release()
    return this.#released
  }

  async #release() {
    for (let next = this.#stack.pop(); next; next = this.#stack.pop()) {
      try {
        await next()
      } catch (error) {
        process.stderr.write(`clean-up failed: ${error}\n`)
      }
    }
  }

  killAll() {
    for (const child of this.#children) child.kill('SIGKILL')
  }
}

/** @param {string} text */
export const progress = (text) => void process.stderr.write(`${text}\n`)

/**
 * An error of the command line, which is answered with the usage.
 * @param {string} message
 */
export function usageError(message) {
  return Object.assign(new TypeError(message), { code: 'ERR_PARSE_ARGS' })
}

/**
 * Runs a bench and ends the process.
 * @template {{ help: boolean }} Options
 * @param {object} bench
 * @param {string} bench.usage
 * @param {(argv: string[]) => Options} bench.readOptions
 * @param {(options: Options, releases: Releases) => Promise<number>} bench.run to the exit code
 */
export function runBench({ usage, readOptions, run }) {
  const main = async () => {
    const options = readOptions(process.argv.slice(2))
    if (options.help) {
      process.stdout.write(usage)
      return 0
    }
    const releases = new Releases()
    const signal = nextSignal()
    try {
      return await Promise.race([run(options, releases), signal])
    } finally {
      progress('cleaning up')
      await releases.release()
    }
  }
  main().then(
    // Not by itself: an interrupted start may have left something that keeps the process alive.
    (code) => process.exit(code),
    (error) => {
      const wrongUsage = error instanceof TypeError && 'code' in error
      progress(wrongUsage ? `${error.message}\n\n${usage}` : error.stack)
      process.exit(wrongUsage ? 64 : 1)
    },
  )
}

/** Resolves to the exit code that a signal asks for; the second signal ends the process at once. @returns {Promise<number>} */
function nextSignal() {
  return new Promise((resolve) => {
    for (const [signal, number] of Object.entries({ SIGINT: 2, SIGTERM: 15, SIGHUP: 1 })) {
      let seen = false
      process.on(signal, () => {
        if (seen) process.exit(128 + number)
        seen = true
        resolve(128 + number)
      })
    }
  })
}
