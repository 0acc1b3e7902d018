import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { JsonText } from '../domain/models.js'
import { type AnswerMemory, Holding } from '../flows/answer-room.js'
import { answerText } from './lists.js'
import type { AppContext } from './route.js'
import { whileConnected } from './while-connected.js'

/** Answers with long texts, which take of the memory for as long as their client has not taken them. */
export function whileHolding(
  c: AppContext,
  memory: AnswerMemory,
  answer: (holding: Holding, signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const { outgoing } = c.env
  return whileConnected(c, (signal) => {
    const holding = new Holding(memory, {
      signal,
      hasBegun: () => outgoing.headersSent,
      isNext: () => isNext(outgoing),
      untilNext: async () => {
        // Node tells when it gives the connection to an answer that has queued.
        if (!isNext(outgoing)) await once(outgoing, 'socket', { signal })
      },
      cut: (error) => c.get('cut')(error),
    })
    return answer(holding, signal)
  })
}

/** Answers with the text of a single row, which may be long. @param read gives it */
export function answerSingle(
  c: AppContext,
  memory: AnswerMemory,
  read: () => Promise<JsonText>,
): Promise<Response> {
  return whileHolding(c, memory, async (holding) => answerText(c, await holding.holdSingle(read)))
}

const isNext = ({ socket }: ServerResponse): boolean => socket !== null
