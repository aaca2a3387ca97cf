/**
 * The sign of life of the main thread, and what only it can say about itself: written at intervals to
 * its own cells, where others read them.
 */
import { getHeapStatistics } from 'node:v8';
import { nowUs } from '../shared/clock.ts';
import type { StatsBlock } from '../shared/memory/stats-block.ts';
import { STAT } from '../shared/stats-layout.ts';

/** A beat is late by no more than a turn of the loop: five a second are at least four. */
const BEAT_MS = 200;
/** Every so many beats the figures of the runtime are taken: once a second. */
const FIGURES_EVERY = 5;

/** Beats until the returned function is called; does not keep the process alive. */
export function startHeartbeat(stats: StatsBlock): () => void {
  let beats = 0;
  let dueUs = nowUs();
  const beat = (): void => {
    const us = nowUs();
    stats.set(STAT.HEARTBEAT_MS, us / 1000);
    stats.set(STAT.LOOP_LAG_US, Math.max(0, us - dueUs));
    dueUs = us + 1000 * BEAT_MS;
    if (beats++ % FIGURES_EVERY === 0) writeFigures(stats);
  };
  beat();
  const timer = setInterval(beat, BEAT_MS).unref();
  return () => clearInterval(timer);
}

function writeFigures(stats: StatsBlock): void {
  const heap = getHeapStatistics();
  stats.set(STAT.HEAP_TOTAL, heap.total_heap_size);
  stats.set(STAT.HEAP_USED, heap.used_heap_size);
  stats.set(STAT.EXTERNAL_MEMORY, heap.external_memory);
  const { active, idle } = performance.eventLoopUtilization();
  stats.set(STAT.LOOP_ACTIVE_US, 1000 * active);
  stats.set(STAT.LOOP_IDLE_US, 1000 * idle);
}
