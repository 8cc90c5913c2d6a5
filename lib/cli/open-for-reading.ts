import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Broker } from '../broker.ts'
import { META_PROPERTIES_FILE } from '../broker/meta-properties.ts'
import { InputError } from './command-arguments.ts'

/**
 * Opens a data directory that another process may have open, and changes nothing in it.
 *
 * @throws InputError if no broker has ever opened it.
 * @throws as {@link Broker.open}
 */
export async function openForReading(dir: string): Promise<Broker> {
  const broker = await Broker.open(resolve(dir), { readOnly: true })
  if (isDataDirectory(broker.dir)) return broker
  await broker.close()
  throw new InputError(`${broker.dir} is not a data directory: it has no ${META_PROPERTIES_FILE}`)
}

/** Whether a broker has ever opened it. */
export function isDataDirectory(dir: string): boolean {
  return existsSync(join(dir, META_PROPERTIES_FILE))
}
