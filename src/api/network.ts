/** Groups of 16 bits of an IPv6 address that name a network; the rest its owner chooses freely. */
const NETWORK_GROUPS = 4
const GROUPS = 8

/**
 * Who an address belongs to, as far as it tells: an IPv4 address by itself, an IPv6 address by its
 * first 64 bits, since each client has all addresses that begin with them (RFC 6177, RFC 4291).
 * @param address as Node gives it
 */
export function networkOf(address: string): string {
  const plain = address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '')
  if (!plain.includes(':')) return plain
  const [head = '', tail] = (plain.split('%')[0] ?? '').split('::')
  const first = groupsOf(head)
  const last = groupsOf(tail ?? '')
  const zeros = Array<string>(Math.max(0, GROUPS - first.length - last.length)).fill('0')
  const all = tail === undefined ? first : [...first, ...zeros, ...last]
  return `${all.slice(0, NETWORK_GROUPS).join(':')}::/64`
}

const groupsOf = (text: string): string[] => (text === '' ? [] : text.split(':'))
