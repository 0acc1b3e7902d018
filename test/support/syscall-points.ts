/** Which system calls are made to fail how, and which of them when there is no time for all. */
import type { Injection, TracedCall } from './strace.js'
import type { UploadForm } from './upload-forms.js'

/** A call of an upload in some form, and what is done to it. */
export interface Point extends Injection {
  readonly form: UploadForm
}

export const KILL = 'KILL'

const DISK = ['EIO', 'ENOSPC']

/** Calls on files, each with the errors that it can have. */
export const FILE_CALLS: Readonly<Record<string, readonly string[]>> = {
  openat: ['EIO', 'ENOSPC', 'EMFILE'],
  write: DISK,
  writev: DISK,
  pwrite64: DISK,
  pwritev: DISK,
  fsync: DISK,
  fdatasync: DISK,
  rename: DISK,
  link: DISK,
  mkdir: DISK,
  unlink: ['EIO'],
  chmod: ['EIO'],
  fchmod: ['EIO'],
  ftruncate: ['EIO'],
  close: ['EIO'],
  read: ['EIO'],
  pread64: ['EIO'],
  stat: ['EIO'],
  fstat: ['EIO'],
  statx: ['EIO'],
  newfstatat: ['EIO'],
  statfs: ['EIO'],
  getdents64: ['EIO'],
}

const LOST = ['ECONNRESET', 'EIO']

/** Calls on the sockets of connections that are there. */
export const SOCKET_CALLS: Readonly<Record<string, readonly string[]>> = {
  read: LOST,
  write: LOST,
  writev: LOST,
  sendto: LOST,
  sendmsg: LOST,
  recvfrom: LOST,
  recvmsg: LOST,
  shutdown: ['ECONNRESET'],
}

/** Calls that make new connections. */
export const CONNECT_CALLS: Readonly<Record<string, readonly string[]>> = {
  socket: ['EMFILE', 'ENFILE'],
  connect: ['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EIO'],
  accept4: ['EMFILE', 'ENFILE', 'ENOBUFS'],
}

/** All that can be done to the calls that an upload was seen to make. */
export function pointsOf(
  form: UploadForm,
  seen: readonly TracedCall[],
  faults: Readonly<Record<string, readonly string[]>>,
): Point[] {
  const { calls } = form
  const tried = seen.filter(({ call }) => !calls || calls.includes(call))
  return tried.flatMap(({ call, when }) =>
    [...(faults[call] ?? []), KILL].map((fault) => ({ form, call, when, fault })),
  )
}

/**
 * Some of the points, the same each time: those of each kind of call and fault in turn, so that
 * every kind is among them if there is room.
 */
export function sampled(points: readonly Point[], most: number): Point[] {
  const random = generator(6)
  const groups = new Map<string, Point[]>()
  for (const point of points) {
    const kind = `${point.call} ${point.fault}`
    const group = groups.get(kind) ?? []
    // Inside-out shuffle.
    group.splice(Math.floor(random() * (group.length + 1)), 0, point)
    groups.set(kind, group)
  }
  const chosen: Point[] = []
  while (chosen.length < most && [...groups.values()].some((group) => group.length > 0)) {
    for (const group of groups.values()) chosen.push(...group.splice(0, 1))
  }
  return chosen.slice(0, most)
}

/** Numbers in [0, 1), the same for the same seed: the generator mulberry32. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
