/** Answers for one mount what its control socket is asked. */
import { readlinkSync } from 'node:fs';
import { CallerTable } from '../../shared/caller-table.ts';
import { SluiceError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { ControlTarget } from './connection.ts';
import { ControlError, type StatusReport, type TopReport } from './protocol.ts';
import { type Served, type StatusFacts, statusReport, topReport } from './report.ts';

/** What the desk needs of the daemon. */
export interface Controlled {
  facts(): StatusFacts;
  /** Undefined until the mount is usable. */
  served(): Served | undefined;
  /** From now on each request is counted there; undefined: nowhere. */
  countCallers(table: CallerTable | undefined): void;
  /** Whether the mount was made here. */
  ownsMount(): boolean;
  stop(timeoutMs: number): Promise<void>;
  abort(): void;
  /** Unmounts, and is told of it as of an unmount from outside. @returns false: it is still in use */
  unmountUnlessBusy(timeoutMs: number): Promise<boolean>;
  readonly logger: Logger;
}

export class ControlDesk implements ControlTarget {
  readonly #daemon: Controlled;
  /** Read now: /proc is not asked while the mount is served. */
  readonly #pidNamespace = readlinkSync('/proc/self/ns/pid');
  #attached = 0;
  #callers: CallerTable | undefined;
  #isUnmounting = false;

  constructor(daemon: Controlled) {
    this.#daemon = daemon;
  }

  status(): StatusReport {
    return statusReport(this.#daemon.facts(), this.#daemon.served());
  }

  attachTop(): void {
    this.#servedOrRefuse();
    this.#attached++;
    if (this.#callers !== undefined) return;
    this.#callers = new CallerTable();
    this.#daemon.countCallers(this.#callers);
  }

  detachTop(): void {
    this.#attached--;
    if (this.#attached > 0) return;
    this.#callers = undefined;
    this.#daemon.countCallers(undefined);
  }

  top(): TopReport {
    const callers = this.#callers;
    if (callers === undefined) throw new Error('top without an attachment');
    return topReport(this.#servedOrRefuse(), callers, this.#pidNamespace);
  }

  async unmount({ lazy, timeoutMs }: { lazy: boolean; timeoutMs: number }): Promise<void> {
    this.#servedOrRefuse();
    this.#daemon.logger.info({ lazy, timeoutMs }, 'asked to unmount through the control socket');
    if (lazy || !this.#daemon.ownsMount()) await this.#stopOrAbort(timeoutMs);
    else await this.#unmountUnlessBusy(timeoutMs);
  }

  reportDefect(error: unknown): void {
    this.#daemon.logger.error({ err: error }, 'a request to the control socket failed');
  }

  async #stopOrAbort(timeoutMs: number): Promise<void> {
    try {
      await this.#daemon.stop(timeoutMs);
    } catch (error) {
      this.#daemon.logger.error({ err: error }, 'the stop failed; aborting');
      this.#daemon.abort();
    }
  }

  async #unmountUnlessBusy(timeoutMs: number): Promise<void> {
    if (this.#isUnmounting) throw new ControlError('under-way', 'another unmount is under way');
    this.#isUnmounting = true;
    try {
      if (await this.#daemon.unmountUnlessBusy(timeoutMs)) return;
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      throw new ControlError('failed', error.message);
    } finally {
      this.#isUnmounting = false;
    }
    throw new ControlError('busy', 'the mount is in use');
  }

  #servedOrRefuse(): Served {
    const served = this.#daemon.served();
    if (served === undefined) throw new ControlError('starting', 'the mount is not usable yet');
    return served;
  }
}
