/** What the id of a group begins with that an import commits its progress for. */
export const IMPORT_GROUP_PREFIX = 'varve-import:'

/** Whether a group is an import's: its offsets say how far a file has been read, and not that records were. */
export function isImportGroup(groupId: string): boolean {
  return groupId.startsWith(IMPORT_GROUP_PREFIX)
}

/**
 * Whether an import that has committed this has come to the end of its file. Until then it may have to
 * look for its rows in what lies behind the offset.
 */
export function hasImportEnded(metadata: string): boolean {
  try {
    return (JSON.parse(metadata) as { isEnd?: unknown } | null)?.isEnd === true
  } catch {
    return false
  }
}
