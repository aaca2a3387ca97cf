/** The process around a daemon: its signals, its end, and what happens on a defect. */
import type { ExitCode } from '../../shared/errors.ts';
import { EXIT, SluiceError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { Daemon } from '../daemon.ts';
import type { ServiceManager } from '../notify.ts';
import { discardMounts } from '../session/mount.ts';
import type { Reloader } from './reloader.ts';
import type { Verbosity } from './verbosity.ts';

/** npm passes on the SIGINT that the terminal sends to the whole group: one Ctrl-C, two signals. */
const SAME_INTERRUPT_MS = 500;
/** How long a defect may take to unmount before the process ends all the same. */
const LAST_UNMOUNT_MS = 5000;

/** What signals change of a running daemon. */
export interface Controls {
  readonly logger: Logger;
  readonly verbosity: Verbosity;
  readonly reloader: Reloader;
  /** Is told when the daemon reloads and stops. */
  readonly manager: ServiceManager;
}

class Supervisor {
  readonly #logger: Logger;
  readonly #controls: Controls;
  readonly #manager: ServiceManager;
  #daemon: Daemon | undefined;
  #isReloadWanted = false;
  #firstSignalMs: number | undefined;
  #isAborted = false;
  #isBroken = false;
  #exitCode: ExitCode = EXIT.ok;

  constructor(controls: Controls) {
    this.#controls = controls;
    this.#logger = controls.logger;
    this.#manager = controls.manager;
  }

  async run(start: () => Promise<Daemon>, onReady: () => void): Promise<ExitCode> {
    const daemon = await this.#started(start);
    this.#daemon = daemon;
    if (this.#firstSignalMs !== undefined) {
      await daemon.stop();
      throw interrupted();
    }
    onReady();
    if (this.#isReloadWanted) this.reload();
    const reason = await daemon.unmounted;
    this.#manager.stopping(`unmounted (${reason})`);
    this.#logger.info({ reason }, 'unmounted');
    return this.#exitCode;
  }

  async #started(start: () => Promise<Daemon>): Promise<Daemon> {
    try {
      return await start();
    } catch (cause) {
      throw this.#firstSignalMs === undefined ? cause : interrupted(cause);
    }
  }

  stopBySignal(signal: NodeJS.Signals): void {
    const nowMs = performance.now();
    if (this.#firstSignalMs === undefined) {
      this.#firstSignalMs = nowMs;
      this.#manager.stopping('finishing what is in flight, then unmounting');
      this.#logger.info({ signal }, 'stopping; a second signal aborts');
      this.#stop();
      return;
    }
    const isEcho = signal === 'SIGINT' && nowMs - this.#firstSignalMs < SAME_INTERRUPT_MS;
    if (!isEcho && !this.#isAborted) {
      this.#abortBySignal(signal);
    }
  }

  /** Before the daemon is there, `run` stops it as soon as it is. */
  #stop(): void {
    this.#daemon?.stop().catch((error: unknown) => {
      this.#logger.error({ err: error }, 'the stop failed; aborting');
      this.#exitCode = EXIT.system;
      this.#daemon?.abort();
    });
  }

  #abortBySignal(signal: NodeJS.Signals): void {
    this.#isAborted = true;
    this.#logger.warn({ signal }, 'second signal: aborting; requests in flight fail');
    if (this.#daemon === undefined) {
      discardMounts();
      process.exit(EXIT.interrupted);
    }
    this.#daemon.abort();
  }

  /** Debug messages begin with the status. */
  toggleDebug(): void {
    this.#controls.verbosity.toggleDebug((isDebug) => {
      this.#logger.info(`debug messages are ${isDebug ? 'on' : 'off'}`);
      if (isDebug) this.#logger.debug({ ...this.#daemon?.status() }, 'status');
    });
  }

  /** Before the mount is usable the reload waits until it is. */
  reload(): void {
    const daemon = this.#daemon;
    this.#isReloadWanted = daemon === undefined;
    if (daemon !== undefined) void this.#controls.reloader.reload(daemon);
  }

  /** The state of the process is unknown: unmount, so that nobody hangs on the mount, and end. */
  breakDown(error: unknown): void {
    this.#logger.fatal({ err: error }, 'internal error; unmounting');
    if (this.#isBroken) {
      return;
    }
    this.#isBroken = true;
    this.#manager.stopping('internal error; unmounting');
    this.#exitCode = EXIT.bug;
    const end = (): never => {
      discardMounts();
      process.exit(EXIT.bug);
    };
    if (this.#daemon === undefined) {
      end();
    }
    setTimeout(end, LAST_UNMOUNT_MS);
    this.#daemon?.unmounted.then(end, end);
    this.#daemon?.abort();
  }
}

function interrupted(cause?: unknown): SluiceError {
  const message = 'interrupted before the mount was usable; nothing is mounted';
  return new SluiceError('ERR_SLUICE_INTERRUPTED', message, { cause });
}

/**
 * Runs a daemon to its end.
 *
 * SIGINT and SIGTERM stop it, a second one aborts it, SIGUSR2 toggles debug messages, SIGHUP reloads.
 * A rejection nobody handles arrives as an uncaught exception too.
 *
 * @param onReady called once when the mount is usable
 * @returns the exit status of the process
 * @throws what `start` throws; ERR_SLUICE_INTERRUPTED after a signal before the mount was usable
 */
export async function superviseDaemon(
  controls: Controls,
  start: () => Promise<Daemon>,
  onReady: () => void,
): Promise<ExitCode> {
  const supervisor = new Supervisor(controls);
  process.on('SIGINT', (signal) => supervisor.stopBySignal(signal));
  process.on('SIGTERM', (signal) => supervisor.stopBySignal(signal));
  process.on('SIGUSR2', () => supervisor.toggleDebug());
  process.on('SIGHUP', () => supervisor.reload());
  process.on('uncaughtException', (error) => supervisor.breakDown(error));
  return supervisor.run(start, onReady);
}
