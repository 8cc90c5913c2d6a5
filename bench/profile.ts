import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'

let path: string | null = null
let session: Session | null = null

/** Requests a CPU profile of the first measured part of this process, written to `profilePath`. */
export function requestProfile(profilePath: string): void {
  path = profilePath
}

/** Starts the profile that was requested, if any. */
export function startProfile(): void {
  if (path === null || session !== null) return
  session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.start')
}

/** Ends the profile in progress, if any, and writes it. */
export function stopProfile(): void {
  if (path === null || session === null) return
  const target = path
  path = null
  session.post('Profiler.stop', (error, { profile }) => {
    if (error !== null) throw error
    writeFileSync(target, JSON.stringify(profile))
  })
}
