/** Where the dispatcher takes requests: the same for the mount and for the warm-up, as V8 counts such objects. */
import type { Context } from '../../shared/passthrough/context.ts';
import type { RequestSink } from '../session/device-reader.ts';
import type { Dispatcher } from './dispatcher.ts';

export function requestSinkOf(ctx: Context, dispatcher: Dispatcher): RequestSink {
  return {
    receiveAddress: () => ctx.address(dispatcher.receiveAt()),
    receiveBytes: ctx.tables.slots.largeMessageBytes(),
    handle: () => dispatcher.handle(),
    isFull: () => dispatcher.isFull(),
    needsLoop: () => dispatcher.needsLoop(),
  };
}
