import type fc from 'fast-check'
import { BrokenPromise } from './model-broker.ts'
import type { Session } from './session.ts'

/** One action on broker and model. It consists of a name and plain data only. */
export class Step {
  readonly perform: (session: Session) => Promise<void>
  readonly #text: string

  constructor(text: string, perform: (session: Session) => Promise<void>) {
    this.#text = text
    this.perform = async (session) => {
      try {
        await perform(session)
      } catch (error) {
        // What a stopped machine would still report, nobody receives. For example, a log whose sync
        // has failed shows less than before.
        if (!(error instanceof BrokenPromise) || !session.fileSystem.crashed) throw error
      }
    }
  }

  toString(): string {
    return this.#text
  }
}

/** Steps of one kind, one for each value of `args`. */
export function step<Args>(
  name: string,
  args: fc.Arbitrary<Args>,
  perform: (session: Session, args: Args) => Promise<void>,
): fc.Arbitrary<Step> {
  return args.map(
    (each) => new Step(`${name}(${describe(each)})`, (session) => perform(session, each)),
  )
}

/** Steps in the form in which fast-check runs them, and prints them after a failure. */
export function commandOf(
  steps: fc.Arbitrary<Step>,
): fc.Arbitrary<fc.AsyncCommand<object, Session>> {
  return steps.map((each) => ({
    check: () => true,
    run: (_model, session) => each.perform(session),
    toString: () => each.toString(),
  }))
}

function describe(args: unknown): string {
  if (args === null || args === undefined) return ''
  if (args instanceof Step) return args.toString()
  if (Array.isArray(args)) return `[${args.map(describe).join(', ')}]`
  if (typeof args !== 'object') return JSON.stringify(args)
  const entries = Object.entries(args).map(([key, value]) => `${key}: ${describe(value)}`)
  return `{ ${entries.join(', ')} }`
}
