import { describe, expect, it } from 'vitest'
import { auditArguments } from '../../src/cli/audit-arguments.js'
import { UsageError } from '../../src/cli/command.js'

describe('the arguments of an audit', () => {
  it('have defaults', () => {
    expect(auditArguments({})).toEqual({
      share: 1,
      sweep: false,
      graceSeconds: 86_400,
      stuckSeconds: 3600,
      maxDurationMs: Number.POSITIVE_INFINITY,
    })
  })

  it('are read in every unit', () => {
    const values = {
      sample: '2.5%',
      grace: '90s',
      'stuck-after': '2d',
      'max-duration': '10m',
      sweep: true,
    }
    expect(auditArguments(values)).toEqual({
      share: 0.025,
      sweep: true,
      graceSeconds: 90,
      stuckSeconds: 172_800,
      maxDurationMs: 600_000,
    })
    expect(auditArguments({ sample: '0%', grace: '0s' })).toMatchObject({
      share: 0,
      graceSeconds: 0,
    })
  })

  it.each([
    [{ sample: '5' }, '--sample'],
    [{ sample: '101%' }, '--sample'],
    [{ sample: '-1%' }, '--sample'],
    [{ sample: '1e1%' }, '--sample'],
    [{ grace: '1' }, '--grace'],
    [{ grace: '1.5h' }, '--grace'],
    [{ 'max-duration': '1w' }, '--max-duration'],
    [{ 'stuck-after': '' }, '--stuck-after'],
  ])('refuse %j', (values, option) => {
    expect(() => auditArguments(values)).toThrow(UsageError)
    expect(() => auditArguments(values)).toThrow(option)
  })
})
