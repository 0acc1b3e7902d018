/**
 * The service does its work in what compose and the systemd unit leave it: a file system that it can
 * write to in the data directory only, without capabilities and without new privileges.
 */
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { untilHealthy } from '../acceptance/helpers.js'
import { login } from '../support/client.js'
import { postgresProxy } from '../support/proxy.js'
import { testStore } from '../support/service.js'
import { tallyOf } from '../support/tally.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Mounts everything read-only but the data directory, and goes on without any capability. */
const CONFINE = `set -eu
data=$1; shift
mount --bind "$data" "$data"
while read -r _ place _; do
  case $place in
    /proc*|/sys*|/dev*|"$data") ;;
    # What others mount meanwhile may be gone again.
    *) mount -o remount,bind,ro "$place" || : ;;
  esac
done < /proc/self/mounts
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"`
const confined = (dataDir: string): string[] => [
  ...['unshare', '--mount', '--propagation', 'private'],
  ...['sh', '-c', CONFINE, 'sh', dataDir],
]
const canConfine = (): boolean => {
  const [program = '', ...args] = [...confined('/tmp'), 'true']
  return spawnSync(program, args).status === 0
}
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0
/** Where nothing may be missing the tests run, and fail. */
const skipUnit = !hasSystemd && !process.env.CI

const releases: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const release of releases.reverse()) await release()
})

const allowed = canConfine()
it.skipIf(!allowed)(
  `it works on a read-only file system without capabilities${allowed ? '' : ' (needs root, and unshare and setpriv of util-linux)'}`,
  async () => {
    const tally = tallyOf('hardening', 'uploads without rights')
    const store = await testStore()
    releases.push(store.remove)
    // The server's socket is in a directory that takes a capability to enter.
    const proxy = await postgresProxy(store.databaseUri)
    await proxy.open()
    releases.push(proxy.close)
    const environment = { BYTES_DB_URI: proxy.uri('none') }
    const service = await store.start(environment, { by: confined(store.dataDir) })
    const status = await readFile(`/proc/${service.process.pid}/status`, 'utf8')
    expect(status).toMatch(/^CapEff:\t0+$/m)
    expect(status).toMatch(/^CapBnd:\t0+$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    const mounts = await readFile(`/proc/${service.process.pid}/mounts`, 'utf8')
    expect(mounts).toMatch(/^\S+ \/ \S+ ro[, ]/m)

    const client = await login(service.url)
    const job = await client.job()
    const large = Buffer.alloc(3 * 1024 * 1024, 'large ')
    const ids = await client.upload(job, [{ name: 'json', content: large, tags: ['a'] }])
    const form = new FormData()
    form.append('form', new Blob([large]), 'form.bin')
    const answer = await client.request(`/bytes/raw?boefje_meta_id=${job}`, {
      method: 'POST',
      body: form,
    })
    Object.assign(ids, await answer.json())
    const created = await client.request('/bytes/uploads', {
      method: 'POST',
      headers: {
        'tus-resumable': '1.0.0',
        'upload-length': String(large.length),
        'upload-metadata': `boefje_meta_id ${btoa(job)},filetype ${btoa('b')}`,
        'content-type': 'application/offset+octet-stream',
      },
      body: large,
    })
    ids.resumable = created.headers.get('bytes-raw-id') ?? ''
    expect(Object.keys(ids)).toEqual(['json', 'form', 'resumable'])
    for (const id of Object.values(ids)) {
      tally.tried++
      const content = await (await client.request(`/bytes/raw/${id}`)).arrayBuffer()
      expect(Buffer.from(content).equals(large), id).toBe(true)
    }
    await untilHealthy(client)
    expect(await service.stop()).toBe(0)
    const complaints = service
      .log()
      .split('\n')
      .filter((line) => /"level":"(error|fatal)"/.test(line))
    expect(complaints).toEqual([])
  },
)

describe(`packaging/bytes.service${skipUnit ? ' (needs systemd-analyze, of the Debian package systemd)' : ''}`, () => {
  const unit = `${ROOT}/packaging/bytes.service`
  const analyze = (...args: string[]) =>
    spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })

  it.skipIf(skipUnit)('leaves little: an exposure of 1.5 of 10 at most', () => {
    tallyOf('hardening', 'exposure of the unit').tried = 1
    const args = ['security', '--offline=true', '--threshold=15', '--no-pager', unit]
    const { status, stdout, stderr } = analyze(...args)
    expect(status, stdout + stderr).toBe(0)
    expect(stdout).toMatch(/Overall exposure level for bytes\.service: \d\.\d/)
  })

  it.skipIf(skipUnit)('has nothing that systemd does not know', () => {
    tallyOf('hardening', 'settings of the unit').tried = 1
    const { stderr } = analyze('verify', '--man=no', unit)
    // Node and the program need not be where the unit has them.
    const own = stderr.split('\n').filter((line) => /bytes\.service/.test(line))
    expect(own.filter((line) => !/is not executable/.test(line))).toEqual([])
  })
})

it('every container of compose is confined', async () => {
  const tally = tallyOf('hardening', 'containers of compose')
  const text = await readFile(`${ROOT}/docker-compose.yml`, 'utf8')
  const [, services = ''] = text.split(/^services:\n/m)
  const parts = [
    ...services
      .split(/^\S/m, 1)
      .join('')
      .matchAll(/^ {2}(\w+):\n((?: {4}.*\n|\n)+)/gm),
  ]
  expect(parts.map(([, name]) => name)).toEqual(['bytes', 'postgres', 'rabbitmq'])
  for (const [, name, settings] of parts) {
    tally.tried++
    for (const setting of ['<<: *hardened', 'pids_limit: ', 'mem_limit: ', 'healthcheck:']) {
      expect(`\n${settings}`, name).toContain(`\n    ${setting}`)
    }
  }
  expect(text).toMatch(/^x-hardened: &hardened\n(?: {2}.*\n)*? {2}cap_drop: \[ALL\]\n/m)
  expect(text).toContain('security_opt: ["no-new-privileges:true"]')
  const own = parts[0]?.[2]
  for (const setting of ['user: node', 'read_only: true']) expect(own).toContain(`    ${setting}\n`)
  expect(own).not.toContain('cap_add')
})
