import { describe, expect, it } from 'vitest'
import type { RedriveSummary } from '../src/api.ts'
import { counts, drives, onward, share, underWay, undoable } from '../src/redrive.ts'

const redrive = (changes: Partial<RedriveSummary>): RedriveSummary =>
  ({
    state: 'checking', canary: 10, letters: 276, checked: 276, waiting: 260, driven: 0, published: 0, duplicate: 0,
    failing: 16, before: 0, exhausted: 0, gone: 0, undone: 0, ...changes,
  }) as RedriveSummary

describe('a re-drive', () => {
  it('goes on by the canary first, then by the rest, and says how many', () => {
    expect(onward(redrive({ state: 'checked' }))).toBe('Drive the first 10')
    expect(onward(redrive({ state: 'paused', driven: 4, waiting: 256 }))).toBe('Drive the first 6')
    expect(onward(redrive({ state: 'tried', driven: 10, waiting: 250 }))).toBe('Drive the other 250')
    expect(onward(redrive({ state: 'checked', waiting: 7 }))).toBe('Drive 7')
    expect(onward(redrive({ state: 'checked', canary: null, waiting: 1200 }))).toBe('Drive 1,200')
  })

  it('offers nothing where nothing passes, or it is under way or at its end', () => {
    expect(onward(redrive({ state: 'checked', waiting: 0 }))).toBeNull()
    for (const state of ['checking', 'canary', 'running', 'done', 'cancelled', 'failed', 'undoing', 'undone'] as const) {
      expect(onward(redrive({ state }))).toBeNull()
    }
  })

  it('shows the share that is checked, that is driven of those that pass, or that is taken back', () => {
    expect(share(redrive({ checked: 69 }))).toBe(0.25)
    expect(share(redrive({ state: 'running', driven: 65, waiting: 195 }))).toBe(0.25)
    expect(share(redrive({ state: 'undoing', driven: 65, waiting: 195, published: 45, undone: 15 }))).toBe(0.25)
    expect(share(redrive({ state: 'done', waiting: 0 }))).toBe(1)
  })

  it('can be undone once it stands still and something is published, and says how much that takes back', () => {
    for (const state of ['tried', 'paused', 'done', 'cancelled', 'failed'] as const) {
      expect(undoable(redrive({ state, published: 10 }))).toBe(10)
      expect(undoable(redrive({ state, published: 0 }))).toBe(0)
    }
    for (const state of ['checking', 'checked', 'canary', 'running', 'undoing', 'undone'] as const) {
      expect(undoable(redrive({ state, published: 10 }))).toBe(0)
    }
  })

  it('that is being undone is under way, but drives nothing that could be cancelled', () => {
    expect([underWay('undoing'), drives('undoing')]).toEqual([true, false])
    expect([underWay('undone'), drives('undone')]).toEqual([false, false])
  })

  it('names only what became of some letter', () => {
    expect(counts(redrive({ waiting: 250, published: 10 }))).toBe('276 of 276 checked, 250 would pass, 10 published, 16 fail')
    expect(counts(redrive({ state: 'undone', waiting: 0, undone: 260 }))).toBe('276 of 276 checked, 260 taken back, 16 fail')
  })
})
