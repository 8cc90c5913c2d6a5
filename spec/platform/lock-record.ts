import type { OwnerRecord } from '../../lib/platform/lock-owner.ts'

/** The record of an owner about which nothing can be proven here: it runs on another machine. */
export function foreignRecord(changes: Partial<OwnerRecord> = {}): OwnerRecord {
  return {
    token: 'f'.repeat(32),
    sinceMs: 1_700_000_000_000,
    guard: null,
    pid: 4711,
    threadId: 4711,
    startTime: '1',
    host: 'elsewhere',
    bootId: 'another boot',
    pidNamespace: 'pid:[1]',
    networkNamespace: 'net:[1]',
    timeNamespace: 'time:[1]',
    ...changes,
  }
}
