/**
 * Looks after layers in lanes that do not answer: their request gets EIO, and their lane a new thread,
 * as nothing else ends JavaScript that does not return.
 */
import { ERRNO } from '../../shared/abi/errno.ts';
import { ROW_BY_OPCODE } from '../../shared/abi/opcodes.ts';
import { nowUs } from '../../shared/clock.ts';
import { LayerWatch } from '../../shared/layers/watch.ts';
import type { Context } from '../../shared/passthrough/context.ts';
import { reply } from '../../shared/passthrough/operations.ts';
import { STAT } from '../../shared/stats-layout.ts';
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
      const entries = watch.entries(lane);
      const place = watch.place(lane);
      if (place >= 0 && watch.sinceUs(lane) < beforeUs && watch.entries(lane) === entries) {
        giveUp(settings, watch, lane, place, entries);
      }
    }
  };
  const timer = setInterval(look, tickMsOf(settings.timeoutMs));
  timer.unref();
  return () => clearInterval(timer);
}

function giveUp(
  { ctx, fuseFd, lanes, names, timeoutMs }: GuardSettings,
  watch: LayerWatch,
  lane: number,
  place: number,
  entries: number,
): void {
  const { slots, stats } = ctx.tables;
  const slot = lanes.slotOf(lane);
  // Whoever moves the slot's state answers: the lane finds TIMED_OUT and undoes what it did.
  if (slot >= 0 && slots.timeOut(slot)) {
    ctx.loadSlot(slot);
    const operation = ROW_BY_OPCODE[ctx.opcode]?.name ?? String(ctx.opcode);
    const layer = names[place] ?? String(place);
    ctx.report(
      'error',
      `layer-timeout-${layer}-${operation}`,
      `layer ${layer}, ${operation}: answered EIO: no answer within ${timeoutMs} ms; its lane gets a new thread`,
    );
    stats.add(STAT.TIMEOUTS, 1);
    reply(ctx, fuseFd, -ERRNO.EIO);
  }
  if (watch.entries(lane) === entries) lanes.terminate(watch.threadId(lane));
}
