/** What the id of a group begins with that an import commits its progress for. */
export const IMPORT_GROUP_PREFIX = 'varve-import:'

/** Whether a group is an import's: its offsets say how far a file has been read, and not that records were. */
export function isImportGroup(groupId: string): boolean {
  return groupId.startsWith(IMPORT_GROUP_PREFIX)
}
