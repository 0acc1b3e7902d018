/** Texts that have broken other services. */

/** Shown on a page as it is, such a text would run. */
export const MARKUP = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "javascript:alert('1')",
  '</script><svg/onload=alert(1)>',
  '{{constructor.constructor("alert(1)")()}}',
]

export const PATHS = [
  '../../../../etc/passwd',
  '..\\..\\..\\windows\\win.ini',
  '/etc/passwd',
  'C:\\boot.ini',
  '....//....//etc/passwd',
  'file:///etc/passwd',
  '.',
  '..',
  'blobs/v1/../../credentials.json',
  'a/../../b',
  '\\\\host\\share',
  'CON',
  '~root/.ssh/id_rsa',
]

export const SQL = [
  "'; DROP TABLE raw_file; --",
  "' OR '1'='1",
  '" OR ""="',
  '1; SELECT pg_sleep(1000)',
  "\\'; TRUNCATE outbox; --",
  '$1',
  '%s%n%x',
  "' UNION SELECT password FROM pg_shadow --",
  '*/ DELETE FROM blob /*',
  '{"$gt":""}',
]

export const CONTROLS = [
  '\0',
  'a\0.txt',
  'a\r\nX-Injected: yes',
  '\r\n\r\n<html>',
  '\n{"level":"error","msg":"forged"}',
  '\u001b[31mred\u001b[0m',
  '\u202etxt.exe',
  '\u2028\u2029',
  '\ufeff',
  '\ud800',
]

export const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'then']

export const HOSTILE: readonly string[] = [
  ...MARKUP,
  ...PATHS,
  ...SQL,
  ...CONTROLS,
  ...KEYS,
  '',
  ' ',
  'x'.repeat(3000),
  '\u{1f4a9}'.repeat(40),
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is an attack on template engines
  '${7*7}',
  '$(id)',
  '`id`',
  '| cat /etc/passwd',
  '-1',
  'NaN',
  '1e309',
  'null',
]

/** Percent-encoded bytes that are not what they look like: overlong UTF-8, double encoding, halves. */
export const ENCODED: readonly string[] = [
  '%c0%ae%c0%ae%c0%af',
  '%e0%80%ae%e0%80%ae/',
  '%f0%80%80%af',
  '%252e%252e%252f',
  '%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  '%2e%2e%5c',
  '..%00',
  '%00',
  '%0d%0aX-Injected:%20yes',
  '%ed%a0%80',
  '%ff%fe',
  '%',
  '%zz',
  '%u002e',
  '..;',
  '...',
]
