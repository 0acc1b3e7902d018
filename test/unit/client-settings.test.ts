import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { clientSettingsHelp, readClientSettings } from '../../src/client-settings.js'
import { SettingsError } from '../../src/environment.js'

it('have defaults', () => {
  expect(readClientSettings({})).toEqual({
    url: 'http://127.0.0.1:8002',
    dataDir: resolve('data'),
  })
})

it('are read', () => {
  const env = {
    BYTES_URL: 'https://bytes.example/x',
    BYTES_USERNAME: 'u',
    BYTES_PASSWORD: 'p',
    BYTES_DATA_DIR: '/d',
  }
  expect(readClientSettings(env)).toEqual({
    url: 'https://bytes.example/x',
    username: 'u',
    password: 'p',
    dataDir: '/d',
  })
  for (const name of Object.keys(env)) expect(clientSettingsHelp()).toContain(`  ${name} `)
})

it('are refused all at once, without the password', () => {
  const read = () => readClientSettings({ BYTES_URL: 'ftp://host', BYTES_PASSWORD: 's3cr3t' })
  expect(read).toThrow(SettingsError)
  expect(read).toThrow(/BYTES_URL: .*\n.*BYTES_USERNAME: not set/)
  expect(read).not.toThrow(/s3cr3t/)
  const inUrl = () => readClientSettings({ BYTES_URL: 'ftp://user:s3cr3t@host' })
  expect(inUrl).toThrow(/BYTES_URL: "ftp:\/\/\.\.\.@host"/)
})
