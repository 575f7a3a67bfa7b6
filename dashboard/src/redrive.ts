/** A re-drive in words: where it stands, and what may be done with it now. */
import type { RedriveSummary } from './api.ts'
import { integer } from './format.ts'

export const CANARY = 10

type State = RedriveSummary['state']
const DRIVEN: readonly State[] = ['tried', 'paused', 'done', 'cancelled', 'failed']

export const drives = (state: State): boolean => ['checking', 'canary', 'running'].includes(state)
export const underWay = (state: State): boolean => drives(state) || state === 'undoing'
export const waits = (state: State): boolean => ['checked', 'tried', 'paused'].includes(state)

/** Of what is being done now, 0 to 1: of all letters that are checked, of those that pass that are driven, or of the
 * events that are taken back. */
export function share({ state, letters, checked, driven, waiting, published, undone }: RedriveSummary): number {
  const steps: Partial<Record<State, [number, number]>> = { checking: [checked, letters], undoing: [undone, undone + published] }
  const [done, all] = steps[state] ?? [driven, driven + waiting]
  return all ? done / all : 1
}

/** How many events undoing it would take back: none while it is under way, or where it is undone already. */
export const undoable = ({ state, published }: RedriveSummary): number => (DRIVEN.includes(state) ? published : 0)

/** What letting it go on would do; null if nothing is left to do, or it goes on by itself. */
export function onward({ state, canary, driven, waiting }: RedriveSummary): string | null {
  if (!waits(state) || !waiting) return null
  const first = canary === null ? 0 : Math.min(canary - driven, waiting)
  if (state !== 'tried' && first > 0 && first < waiting) return `Drive the first ${integer(first)}`
  return driven ? `Drive the other ${integer(waiting)}` : `Drive ${integer(waiting)}`
}

const COUNTS = [
  ['waiting', 'would pass'],
  ['published', 'published'],
  ['undone', 'taken back'],
  ['duplicate', 'there already'],
  ['failing', 'fail'],
  ['before', 'driven before'],
  ['exhausted', 'driven too often'],
  ['gone', 'kept no longer'],
] as const

/** Its letters by what became of them, without those that none became. */
export function counts(redrive: RedriveSummary): string {
  const said = COUNTS.filter(([name]) => redrive[name] > 0).map(([name, words]) => `${integer(redrive[name])} ${words}`)
  return [`${integer(redrive.checked)} of ${integer(redrive.letters)} checked`, ...said].join(', ')
}
