/** For what is waited for until it is there: the time ends a wait for what never comes. */
export const PATIENCE = { timeout: 60_000, interval: 20 }
