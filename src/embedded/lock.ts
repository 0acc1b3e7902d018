import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rename, rm, symlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A path for the sockets of a directory, short enough for a socket address. */
export interface SocketPath {
  readonly path: string
  /** Removes what was made for the path, not the directory itself. */
  remove(): Promise<void>
}

const longestSocketAddress = 100
const longestSocketName = 24

/**
 * Gives a path to the directory that a socket in it can be bound and connected by: socket
 * addresses end at about 100 bytes. It is the directory's own path or that of a symlink to it.
 * @param directory absolute
 * @param own called with the directory that holds the symlink, when one is made
 */
export async function socketPath(
  directory: string,
  own: (holder: string) => Promise<void> = async () => {},
): Promise<SocketPath> {
  // Postgres takes a comma-separated list of directories, hence only the plainest characters.
  const plain = /^[\w./-]+$/.test(directory)
  if (plain && Buffer.byteLength(directory) + longestSocketName <= longestSocketAddress) {
    return { path: directory, remove: async () => {} }
  }
  const temporary = tmpdir()
  const usable = temporary.length <= 50 && /^[\w./-]+$/.test(temporary)
  // Root's temporary directory may be closed to the user that Postgres runs as.
  const holder = await mkdtemp(
    join(usable && process.geteuid?.() !== 0 ? temporary : '/tmp', 'bytes-'),
  )
  const path = join(holder, 'd')
  const remove = (): Promise<void> => rm(holder, { recursive: true, force: true })
  try {
    await symlink(directory, path)
    await own(holder)
  } catch (error) {
    await remove()
    throw error
  }
  return { path, remove }
}

export interface Lock {
  release(): Promise<void>
}

/**
 * Takes a lock that no two live processes can hold, and that the kernel releases when its holder
 * dies, however it dies: the holder listens on a socket in the directory. A socket that refuses
 * connections is that of a dead process, so unlike the pid in a file it cannot be mistaken for
 * somebody else's; it works between containers that share a volume, too.
 * @param directory absolute; made when missing
 * @throws Error when another live process has the lock
 */
export async function acquireLock(directory: string): Promise<Lock> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  for (let attempt = 1; ; attempt++) {
    // Published before looking at the others: of two at the same time at least one sees the other.
    const mine = await publish(directory)
    if (mine !== null) {
      const holder = await findOther(directory, mine.name)
      if (holder === null) return { release: mine.withdraw }
      await mine.withdraw()
      if (attempt >= 8) {
        throw new Error(
          `the embedded Postgres in ${directory} is in use by ${holder}: stop it, or set another BYTES_DATA_DIR`,
        )
      }
    }
    await sleep(50 + Math.random() * 250)
  }
}

async function publish(
  directory: string,
): Promise<{ name: string; withdraw(): Promise<void> } | null> {
  const id = randomBytes(6).toString('hex')
  const name = `${id}.sock`
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end(`process ${process.pid}`)
  })
  const withdraw = async (): Promise<void> => {
    await rm(join(directory, name), { force: true })
    await new Promise((resolve) => server.close(resolve))
  }
  const short = await socketPath(directory)
  try {
    await listen(server, join(short.path, `${id}.new`))
    server.unref()
    // Between bind and listen a socket looks dead, so it gets its name only now.
    await rename(join(directory, `${id}.new`), join(directory, name))
    return { name, withdraw }
  } catch (error) {
    if (server.listening) await withdraw()
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new Error(`cannot make a socket in ${directory}`, { cause: error })
  } finally {
    await short.remove()
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // The directory is what keeps others out. Whoever may enter it must be able to find a socket
    // dead, also when root made it.
    server.listen({ path, readableAll: true, writableAll: true }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** Describes a live process that has, or wants, the lock. Removes the sockets of dead ones. */
async function findOther(directory: string, mine: string): Promise<string | null> {
  const short = await socketPath(directory)
  try {
    for (const name of await readdir(directory)) {
      if (name === mine) continue
      if (name.endsWith('.sock')) {
        const holder = await ask(join(short.path, name))
        if (holder !== null) return holder
      }
      await rm(join(directory, name), { force: true })
    }
    return null
  } finally {
    await short.remove()
  }
}

/** What the process behind a socket calls itself, or null when there is none. */
function ask(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(path)
    const finish = (): void => {
      socket.destroy()
      resolve(answer === '' ? 'another process' : answer)
    }
    socket.setTimeout(1000, finish)
    socket.on('data', (data) => {
      answer += data.toString('latin1')
    })
    socket.on('end', finish)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(null)
      else finish()
    })
  })
}
