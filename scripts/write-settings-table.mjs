/** Writes the table of settings into the README, from the settings themselves. Needs a build. */
import { readFileSync, writeFileSync } from 'node:fs'
import { settingsTable } from '../build/settings.js'

const file = new URL('../README.md', import.meta.url)
const text = readFileSync(file, 'utf8')
const between = /(<!-- settings -->\n).*(<!-- \/settings -->)/s
writeFileSync(
  file,
  text.replace(between, (_, begin, end) => `${begin}\n${settingsTable()}\n\n${end}`),
)
