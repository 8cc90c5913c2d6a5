import { expect, it } from 'vitest'
import { RecentSegments } from '../../lib/storage/recent-segments.ts'

it('evicts the least recently used segment when it is full', () => {
  const recent = new RecentSegments<string>(2)
  expect([recent.add('a'), recent.add('b')]).toEqual([undefined, undefined])
  expect(recent.useAgain('a')).toBe(true)
  expect(recent.add('c')).toBe('b')
  expect(recent.useAgain('b')).toBe(false)
  expect(recent.add('d')).toBe('a')
})

it('knows which segment was used last', () => {
  const recent = new RecentSegments<string>(2)
  recent.add('a')
  recent.add('b')
  expect([recent.isLast('a'), recent.isLast('b')]).toEqual([false, true])
  recent.useAgain('a')
  expect([recent.isLast('a'), recent.isLast('b')]).toEqual([true, false])
})

it('does not find a forgotten segment, and frees its place', () => {
  const recent = new RecentSegments<string>(2)
  recent.add('a')
  recent.add('b')
  recent.forget('b')
  expect([recent.isLast('b'), recent.useAgain('b')]).toEqual([false, false])
  expect(recent.add('c')).toBeUndefined()
  expect(recent.add('d')).toBe('a')
})
