/** Database with all migrations that each test file gets a copy of. */
export const TEMPLATE = 'bytes_template'
