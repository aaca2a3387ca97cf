/**
 * Looks after layers in lanes that do not answer: their request gets EIO, and their lane a new thread,
 * as nothing else ends JavaScript that does not return.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { nowUs } from '../../shared/clock.ts';
import { mistakeKey, mistakeText } from '../../shared/layers/mistake.ts';
import { OPERATION_OF } from '../../shared/layers/operation-table.ts';
import { LayerWatch } from '../../shared/layers/watch.ts';
import { LayerMistake } from '../../shared/layers/wire.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import type { Lanes } from '../dispatch/lanes.ts';

const LEAST_TICK_MS = 20;
const MOST_TICK_MS = 1000;

/** How often to look, so that a deadline is noticed soon enough. */
export function tickMsOf(timeoutMs: number): number {
  return Math.max(LEAST_TICK_MS, Math.min(timeoutMs / 4, MOST_TICK_MS));
}

export interface GuardSettings {
  readonly ctx: Context;
  readonly fuseFd: number;
  readonly lanes: Lanes;
  readonly watch: SharedArrayBuffer;
  readonly names: readonly string[];
  readonly timeoutMs: number;
}

/** @returns ends it */
export function guardLanes(settings: GuardSettings): () => void {
  const watch = new LayerWatch(settings.watch);
  const look = (): void => {
    const beforeUs = nowUs() - 1000 * settings.timeoutMs;
    for (let lane = 0; lane < settings.lanes.count(); lane++) {
      const place = watch.giveUp(lane, beforeUs);
      if (place < 0) continue;
      answerFor(settings, lane, place);
      settings.lanes.terminate(watch.threadId(lane));
    }
  };
  const timer = setInterval(look, tickMsOf(settings.timeoutMs));
  timer.unref();
  return () => clearInterval(timer);
}

/** EIO for the request of a lane that was given up, which keeps it and its slot. */
function answerFor(settings: GuardSettings, lane: number, place: number): void {
  const { ctx, fuseFd, lanes, names, timeoutMs } = settings;
  const { slots } = ctx.tables;
  const slot = lanes.slotOf(lane);
  // Not so where op_timeout has answered it already.
  if (slot < 0 || !slots.timeOut(slot)) return;
  ctx.loadSlot(slot);
  const operation = OPERATION_OF[ctx.opcode] ?? String(ctx.opcode);
  const layer = names[place] ?? String(place);
  const what = `no answer within ${timeoutMs} ms; its lane gets a new thread`;
  const mistake = new LayerMistake(what, 'deadline');
  const text = mistakeText(layer, operation, mistake);
  ctx.report('error', mistakeKey(layer, operation, mistake), text);
  reply(ctx, fuseFd, -ERRNO.EIO);
}
