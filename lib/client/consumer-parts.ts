import { InvalidGroupIdError } from '../errors.ts'
import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { checkOffsetCommits } from './consumer-arguments.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { recordReader } from './consumer-record.ts'
import { Fetcher } from './fetcher.ts'
import { GroupSession } from './group-session.ts'
import type { Iterations } from './iterations.ts'
import { OffsetCommitter } from './offset-committer.ts'
import { PartitionControls } from './partition-controls.ts'
import { consumerClosed, PollLoop } from './poll-loop.ts'
import { PositionResolver } from './position-resolver.ts'
import { SubscriptionState } from './subscription-state.ts'

/** Creates and connects the parts of a consumer. */
export class ConsumerParts<K, V> {
  readonly subscription: SubscriptionState
  readonly positions: PositionResolver
  readonly committer: OffsetCommitter
  readonly group: GroupSession
  readonly loop: PollLoop<K, V>
  readonly controls: PartitionControls
  /** Stops listening for the loss of the directory. */
  readonly stopListening: () => void
  readonly #hasGroup: boolean

  constructor(
    context: ConsumerContext,
    options: ResolvedConsumerOptions<K, V>,
    iterations: Iterations<K, V>,
  ) {
    const { clock, lockLoss } = context
    const { release } = iterations
    const subscription = new SubscriptionState(release)
    const positions = new PositionResolver(context, options, release)
    const partitions = { subscription, positions }
    const group = new GroupSession(context, options, subscription, {
      onChange: () => {
        this.loop.notify()
      },
      commitConsumed: () => this.committer.commitConsumed(),
    })
    const committer = new OffsetCommitter(clock, options, partitions, iterations, group)
    const fetcher = new Fetcher(clock, options, partitions, recordReader(options))
    this.subscription = subscription
    this.positions = positions
    this.committer = committer
    this.group = group
    this.loop = new PollLoop(clock, { subscription, group, committer, fetcher, lockLoss })
    this.stopListening = lockLoss.onLost(() => {
      this.loop.notify()
    })
    this.#hasGroup = options.groupId !== null
    this.controls = new PartitionControls(subscription, positions, {
      onChange: (moved) => {
        if (moved !== null) release(moved)
        this.loop.notify()
      },
      ensureOpen: () => {
        this.ensureOpen()
      },
      isClosing: () => this.loop.isStopped,
      isOfListener: (error) => group.listener.hasKept(error),
      fetchMaxWaitMs: options.fetchMaxWaitMs,
    })
  }

  /**
   * Runs `look`, which answers from memory. If a turn of the event loop is due, it waits for that
   * first: a caller that asks in a loop may be waiting for work that needs it.
   *
   * @throws {@link ClosedError}
   */
  async answer<T>(look: () => T | Promise<T>): Promise<T> {
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    this.ensureOpen()
    return look()
  }

  /** See `Consumer.commit`. */
  async commit(offsets: readonly OffsetCommit[] | undefined): Promise<void> {
    this.ensureOpen()
    const checked = offsets === undefined ? null : checkOffsetCommits(offsets)
    this.ensureGroup('commit()')
    const { committer } = this
    if (checked === null) return committer.commitAll()
    const lastMoves = committer.ensurePresent(checked)
    const ended = this.positions.noteCommitting(checked)
    try {
      await this.group.commit(checked)
    } finally {
      ended()
    }
    committer.noteCommitted(checked, lastMoves)
  }

  /** A listener may still use the consumer while it is closing. @throws {@link ClosedError} */
  ensureOpen(): void {
    if (!this.group.listener.isRunning) this.ensureNotClosing()
  }

  /** @throws {@link ClosedError} from the call of `close` on */
  ensureNotClosing(): void {
    if (this.loop.isStopped) throw consumerClosed()
  }

  /** @throws {@link InvalidGroupIdError} */
  ensureGroup(call: string): void {
    if (!this.#hasGroup) throw new InvalidGroupIdError(`${call} needs a consumer with a groupId`)
  }

  /**
   * Starts to give up all partitions. The commit and listener calls that need to know them are made
   * before this returns.
   */
  giveUp(): Promise<void> {
    if (this.subscription.type === 'partitions') this.committer.startCommitConsumed()
    return this.group.depart()
  }

  /** Removes all partitions, after a listener that runs in a poll has committed their positions. */
  letGo(): void {
    this.group.listener.afterwards(() => {
      this.subscription.unsubscribe()
    })
  }
}
