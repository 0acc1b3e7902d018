import { type AnswerMemory, Holding } from '../flows/answer-room.js'
import type { AppContext } from './route.js'
import { whileConnected } from './while-connected.js'

/** Answers with long texts, which take of the memory for as long as their client has not taken them. */
export function whileHolding(
  c: AppContext,
  memory: AnswerMemory,
  answer: (holding: Holding, signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const hasBegun = (): boolean => c.env.outgoing.headersSent
  return whileConnected(c, (signal) => answer(new Holding(memory, signal, hasBegun), signal))
}
