/** Prefix of the ids of groups under which imports commit their progress. */
export const IMPORT_GROUP_PREFIX = 'varve-import:'

/**
 * Whether a group belongs to an import. Its offsets say how far a file was imported, not which
 * records were consumed.
 */
export function isImportGroup(groupId: string): boolean {
  return groupId.startsWith(IMPORT_GROUP_PREFIX)
}

/**
 * Whether the import that has committed this metadata has reached the end of its file. Until then
 * it may have to look for its rows after the committed offset.
 */
export function hasImportEnded(metadata: string): boolean {
  try {
    return (JSON.parse(metadata) as { isEnd?: unknown } | null)?.isEnd === true
  } catch {
    return false
  }
}
