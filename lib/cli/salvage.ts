import { basename, dirname, resolve, sep } from 'node:path'
import { parsePartitionDirectoryName } from '../broker/topic-name.ts'
import { Log, type LostRange, type SalvageReport } from '../index.ts'
import { FOUND_BAD, type Command, type CommandStreams } from './command.ts'
import { InputError, readArguments, UsageError } from './command-arguments.ts'
import { isDataDirectory } from './open-for-reading.ts'
import { jsonLine } from './record-line.ts'
import { counted, printable, thousands } from './report.ts'

const HELP = `varve salvage PARTITION TARGET [--json]

Copies every whole batch that can be read from a damaged partition, such as data/orders-0, to a new
directory, at the same offsets, and lists what is lost. PARTITION is not changed. Close the program
that writes to it first. To use the copy, replace PARTITION with it.

  --json  the report as one line of JSON
  --help  show this text

Exit codes: 0 nothing is lost; 1 failed; 2 the command line is invalid; 3 done, but the listed
offsets are lost.
`

/** Saves what can be read of a damaged partition. */
export const salvageCommand: Command = {
  usage: 'PARTITION TARGET',
  summary: 'copy the readable records of a damaged partition',
  help: HELP,
  run: salvage,
}

async function salvage(args: readonly string[], { stdout }: CommandStreams): Promise<number> {
  const { values, positionals } = readArguments('varve salvage', args, {
    json: { type: 'boolean' },
  })
  const [source = '', target = '', ...others] = positionals
  if (source === '' || target === '' || others.length > 0) {
    const got = `got '${positionals.join(' ')}'`
    throw new UsageError(`salvage takes the directory of a partition and a new one, ${got}`)
  }
  const paths = [resolve(source), resolve(target)] as const
  refuseTarget(...paths)
  const report = await Log.salvage(...paths)
  stdout.write(values.json === true ? `${jsonLine(report)}\n` : textOf(report))
  return report.lost.length === 0 ? 0 : FOUND_BAD
}

/** @throws InputError for a copy that would not last, and for one inside the source. */
function refuseTarget(source: string, target: string): void {
  if (target === source || target.startsWith(`${source}${sep}`)) {
    throw new InputError(`${target} is in ${source}, which must not be changed`)
  }
  if (parsePartitionDirectoryName(basename(target)) === null) return
  if (!isDataDirectory(dirname(target))) return
  throw new InputError(
    `${target} is in a data directory, whose next open would treat it as a partition: ` +
      'use a target outside of it, and move the copy there after moving the damaged partition away',
  )
}

function textOf({ batchCount, recordCount, ...report }: SalvageReport): string {
  const { logStartOffset, logEndOffset, lost } = report
  const saved =
    `saved ${counted(recordCount, 'record')} in ${thousands(batchCount)} ` +
    `${batchCount === 1 ? 'batch' : 'batches'}, offsets from ${logStartOffset} to ${logEndOffset - 1}`
  const lines = [recordCount === 0 ? 'saved nothing' : saved, ...lost.map(lostLine)]
  if (lost.length === 0) lines.push('nothing is lost')
  return `${lines.join('\n')}\n`
}

function lostLine({ firstOffset, lastOffset, path, position, reason }: LostRange): string {
  const offsets = lastOffset === null ? `from ${firstOffset} on` : `${firstOffset} to ${lastOffset}`
  const place = path === null ? '' : `, at position ${position} of ${path}`
  return printable(`lost: offsets ${offsets}${place}: ${reason}`)
}
