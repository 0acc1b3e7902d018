import { describe, expect, it } from 'vitest'
import { networkOf } from '../../src/api/network.js'

describe('the network of a client', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::99', '2001:db8:1:2::/64'],
    ['2001:db8::2:3:4:5:6', '2001:db8:0:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ])('of %s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network)
  })

  it('is the same for all addresses that a client may choose, and for no other', () => {
    const chosen = ['a:b:c:d::', 'a:b:c:d::1', 'a:b:c:d:ffff:ffff:ffff:ffff'].map(networkOf)
    expect(new Set(chosen).size).toBe(1)
    expect(chosen).not.toContain(networkOf('a:b:c:e::1'))
  })
})
