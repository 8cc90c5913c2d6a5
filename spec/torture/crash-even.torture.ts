import { crashEverywhereIn } from '../crash/torture.ts'
import { WORKLOADS } from '../crash/workloads.ts'

// Every second workload, so that two processes share the work.
crashEverywhereIn(WORKLOADS.filter((_, index) => index % 2 === 0))
