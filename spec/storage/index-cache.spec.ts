import { expect, it } from 'vitest'
import { IndexCache, type IndexOwner } from '../../lib/storage/index-cache.ts'

class Owner implements IndexOwner {
  isBusy = false
  isLoaded = true
  readonly indexBytes: number

  constructor(indexBytes: number) {
    this.indexBytes = indexBytes
  }

  unloadIndexes(): boolean {
    if (this.isBusy) return false
    this.isLoaded = false
    return true
  }
}

function owners(...bytes: readonly number[]): Owner[] {
  return bytes.map((each) => new Owner(each))
}

function loadedOf(all: readonly Owner[]): boolean[] {
  return all.map(({ isLoaded }) => isLoaded)
}

it('unloads the least recently used indexes if there are too many bytes', () => {
  const cache = new IndexCache({ maxBytes: 30, maxOwners: 10 })
  const all = owners(10, 10, 10, 10)
  for (const owner of all.slice(0, 3)) cache.use(owner)
  expect(loadedOf(all)).toEqual([true, true, true, true])
  const [first, , , last] = all as [Owner, Owner, Owner, Owner]
  cache.use(first)
  cache.use(last)
  expect(loadedOf(all)).toEqual([true, false, true, true])
})

it('unloads as many indexes as necessary, but never those used last', () => {
  const cache = new IndexCache({ maxBytes: 30, maxOwners: 10 })
  const all = owners(10, 10, 100)
  for (const owner of all) cache.use(owner)
  expect(loadedOf(all)).toEqual([false, false, true])
})

it('unloads indexes if too many are loaded, however small they are', () => {
  const cache = new IndexCache({ maxBytes: 30, maxOwners: 2 })
  const all = owners(0, 0, 0)
  for (const owner of all) cache.use(owner)
  expect(loadedOf(all)).toEqual([false, true, true])
})

it('skips indexes in use, and unloads them once they are not used any more', () => {
  const cache = new IndexCache({ maxBytes: 10, maxOwners: 10 })
  const all = owners(10, 10, 10)
  const [first, second, third] = all as [Owner, Owner, Owner]
  first.isBusy = true
  cache.use(first)
  cache.use(second)
  expect(loadedOf(all)).toEqual([true, true, true])
  first.isBusy = false
  cache.use(third)
  expect(loadedOf(all)).toEqual([false, false, true])
})

it('neither unloads nor counts indexes that it was told to forget', () => {
  const cache = new IndexCache({ maxBytes: 10, maxOwners: 10 })
  const all = owners(10, 10)
  const [first, second] = all as [Owner, Owner]
  cache.use(first)
  cache.forget(first)
  cache.use(second)
  expect(loadedOf(all)).toEqual([true, true])
})
