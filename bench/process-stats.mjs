/** What Linux tells of another process (proc_pid_status(5), proc_pid_stat(5)). */
import { readFile, writeFile } from 'node:fs/promises'

/**
 * @param {number} pid
 * @param {'VmHWM' | 'VmRSS'} field
 * @returns {Promise<number | undefined>} MiB; undefined where there is no /proc
 */
async function memory(pid, field) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)
  return found ? Number(found[1]) / 1024 : undefined
}

/** Peak memory since `resetPeak`, in MiB; undefined where there is no /proc. @param {number} pid */
export const peakMemory = (pid) => memory(pid, 'VmHWM')

/** Memory now, in MiB; undefined where there is no /proc. @param {number} pid */
export const residentMemory = (pid) => memory(pid, 'VmRSS')

/** @param {number} pid */
export async function resetPeak(pid) {
  // proc_pid_clear_refs(5)
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(() => undefined)
}

/** CPU time that a process has used, user and system, in ms; 0 where there is no /proc. @param {number} pid */
export async function cpuTime(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // Fields 14 and 15, counted behind the name, in ticks of 10 ms.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return stat === '' ? 0 : (Number(fields[11]) + Number(fields[12])) * 10
}
