/** Drives the client processes of one placement, each step bounded in time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { nowUs } from '../../src/shared/clock.ts';
import type { ClientReply, ClientRequest } from './client.ts';
import type { Figure, Run, Workload } from './workloads/workload.ts';

const CLIENT_PATH = fileURLToPath(new URL('./client.js', import.meta.url));
const STEP_TIMEOUT_MS = 120_000;
/** Until all clients of a run have the request and have made their names and buffers. */
const TOGETHER_AFTER_US = 30_000;

/** Why there is no figure. A client that hung was killed, and its mount has to be ended. */
export class ClientError extends Error {
  readonly isHung: boolean;

  constructor(message: string, isHung: boolean) {
    super(message);
    this.isHung = isHung;
  }
}

/** `command` as it is, or held on one CPU. */
export function onCpu(cpu: number | undefined, command: readonly string[]): string[] {
  return cpu === undefined ? [...command] : ['taskset', '-c', String(cpu), ...command];
}

export class ClientPool {
  readonly #cpu: number | undefined;
  readonly #children: (ChildProcess | undefined)[] = [];

  constructor(cpu: number | undefined) {
    this.#cpu = cpu;
  }

  /** What the first client does before and after a run. @throws ClientError */
  async step(step: 'prepare' | 'finish', workload: Workload, run: Run): Promise<void> {
    if (workload[step] !== undefined) await this.#ask(0, { step, workload: workload.name, run });
  }

  /** The figures of all clients of a run. @throws ClientError */
  async measure(workload: Workload, run: Run): Promise<Figure[]> {
    const startAtUs = workload.clients === 1 ? 0 : nowUs() + TOGETHER_AFTER_US;
    const clients = Array.from({ length: workload.clients }, (_, client) =>
      this.#ask(client, {
        step: 'measure',
        workload: workload.name,
        run: { ...run, client, startAtUs },
      }),
    );
    // All of them, so that none is left running when one fails.
    const results = await Promise.allSettled(clients);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return results.map((result) => (result as PromiseFulfilledResult<Figure>).value);
  }

  /** Ends all clients; a run that is under way comes back with an error. */
  stop(): void {
    for (const child of this.#children) child?.kill('SIGKILL');
    this.#children.length = 0;
  }

  async #ask(client: number, request: ClientRequest): Promise<Figure | undefined> {
    const child = this.#children[client] ?? this.#start(client);
    return new Promise((resolve, reject) => {
      const settle = (action: () => void): void => {
        clearTimeout(timer);
        child.removeAllListeners('message').removeAllListeners('exit');
        action();
      };
      const lose = (message: string, isHung: boolean): void => {
        if (this.#children[client] === child) this.#children[client] = undefined;
        settle(() => reject(new ClientError(message, isHung)));
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        child.disconnect();
        child.unref();
        lose(`no answer within ${STEP_TIMEOUT_MS / 1000} s`, true);
      }, STEP_TIMEOUT_MS);
      child.once('message', (reply: ClientReply) =>
        settle(() =>
          'error' in reply
            ? reject(new ClientError(`${request.step}: ${reply.error}`, false))
            : resolve(reply.figure),
        ),
      );
      child.once('exit', (code, signal) => lose(`the client ended (${signal ?? code})`, false));
      child.send(request);
    });
  }

  #start(client: number): ChildProcess {
    const [file, ...args] = onCpu(this.#cpu, [process.execPath, CLIENT_PATH]);
    const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#children[client] = child;
    return child;
  }
}
