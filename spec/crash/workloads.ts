import type { Workload } from './workload.ts'
import { APPENDS } from './workloads/appends.ts'
import { CODECS } from './workloads/codecs.ts'
import { COMPACTION } from './workloads/compaction.ts'
import { GROUPS } from './workloads/groups.ts'
import { LOGS } from './workloads/logs.ts'
import { OPENINGS } from './workloads/openings.ts'
import { REPAIRS } from './workloads/repairs.ts'
import { RETENTION } from './workloads/retention.ts'
import { SEGMENTS } from './workloads/segments.ts'
import { TOPICS } from './workloads/topics.ts'

/** Every workload that is crashed. A defect that a crash reveals adds a workload. */
export const WORKLOADS: readonly Workload[] = [
  ...APPENDS,
  ...SEGMENTS,
  ...RETENTION,
  ...TOPICS,
  ...GROUPS,
  ...OPENINGS,
  ...LOGS,
  ...REPAIRS,
  ...COMPACTION,
  ...CODECS,
]
