/**
 * Prints what failed in a run of the tests, then its counts as the last line.
 * usage: test-summary.mjs REPORT EXIT_CODE, with Vitest's JSON report and the exit code of the run.
 * Exits with 0 only if tests ran and all passed.
 */
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

/** Lines of each failure that are repeated here: the run has printed them all. */
const LINES = 6

const [path = '', exitCode] = process.argv.slice(2)
const report = readReport()
for (const file of report.testResults) {
  const name = relative(process.cwd(), file.name)
  if (file.message) print(name, file.message)
  for (const { status, fullName, failureMessages } of file.assertionResults) {
    if (status === 'failed') print(`${name} > ${fullName}`, failureMessages.join('\n'))
  }
}
if (report.success && exitCode !== '0') print('beside the tests', `exit code ${exitCode}`)
const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = report
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = passed + failed > 0 && report.success && exitCode === '0' ? 0 : 1

function readReport() {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    console.log(`the tests have left no report: ${error.message}`)
    return {
      numPassedTests: 0,
      numFailedTests: 0,
      numPendingTests: 0,
      success: false,
      testResults: [],
    }
  }
}

function print(where, message) {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.includes('/node_modules/'))
    .slice(0, LINES)
  console.log([`FAILED ${where}`, ...lines.map((line) => `    ${line.slice(0, 300)}`)].join('\n'))
}
