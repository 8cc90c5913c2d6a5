import { objectWith, type Check } from '../checks.ts'

/** Whether it is a broker, as far as loads and imports need one. */
export const checkBroker: Check = objectWith('topic', 'consumer', 'describe')

/** Whether it is a producer, as far as streams need one. */
export const checkProducer: Check = objectWith('send', 'sendBatch')

/** Whether it is a sink. */
export const checkSink: Check = objectWith('published', 'open')
