/** SIGHUP: reads the sources again and gives a running mount what may change. */
import { describeFailure, SluiceError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import { type Change, planReload, type ReloadPlan } from '../config/reload.ts';
import { type ResolvedMount, resolveMount, type Sources } from '../config/sources.ts';
import type { Daemon } from '../daemon.ts';
import { type ServiceManager, servingLine } from '../notify.ts';
import type { Verbosity } from './verbosity.ts';

export class Reloader {
  readonly #sources: Sources;
  readonly #logger: Logger;
  readonly #verbosity: Verbosity;
  readonly #manager: ServiceManager;
  #running: ResolvedMount;
  #isReloading = false;
  #isAskedAgain = false;

  constructor(
    sources: Sources,
    running: ResolvedMount,
    logger: Logger,
    verbosity: Verbosity,
    manager: ServiceManager,
  ) {
    this.#sources = sources;
    this.#running = running;
    this.#logger = logger;
    this.#verbosity = verbosity;
    this.#manager = manager;
  }

  /**
   * Reloads, and says what changed. Sources that cannot be read or have a mistake change nothing and
   * are one error line. Asked again meanwhile, it reads once more when it is done.
   */
  async reload(daemon: Daemon): Promise<void> {
    if (this.#isReloading) {
      this.#isAskedAgain = true;
      this.#logger.info('a reload is under way; the file is read once more after it');
      return;
    }
    this.#isReloading = true;
    this.#manager.reloading();
    do {
      this.#isAskedAgain = false;
      await this.#reloadOnce(daemon);
    } while (this.#isAskedAgain);
    this.#isReloading = false;
    this.#manager.ready(servingLine(this.#running.options));
  }

  async #reloadOnce(daemon: Daemon): Promise<void> {
    let plan: ReloadPlan;
    try {
      const fresh = await resolveMount(this.#sources);
      plan = planReload(this.#running, fresh, this.#sources.surroundings);
    } catch (error) {
      const reason = error instanceof SluiceError ? error.message : describeFailure(error).line;
      this.#logger.error(`not reloaded, everything stays as it was: ${reason}`);
      return;
    }
    this.#running = plan.mount;
    daemon.reconfigure(plan.mount.options);
    this.#verbosity.configure(plan.mount.options.logLevel, () => this.#say(plan));
  }

  #say({ changed, ignored, warnings }: ReloadPlan): void {
    for (const warning of warnings) this.#logger.warn(warning);
    const what = changed.length > 0 ? describe(changed) : 'nothing has changed';
    this.#logger.info(`reloaded: ${what}`);
    if (ignored.length > 0) {
      this.#logger.warn(`not changed before the next mount: ${describe(ignored)}`);
    }
  }
}

function describe(changes: readonly Change[]): string {
  return changes.map(({ name, from, to }) => `${name} ${text(from)} -> ${text(to)}`).join(', ');
}

function text(value: unknown): string {
  return value === undefined ? 'none' : String(value);
}
