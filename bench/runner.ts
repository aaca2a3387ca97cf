/** Drives the client process: one request at a time, each bounded in time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ClientReply, ClientRequest } from './client.ts';

const CLIENT_PATH = fileURLToPath(new URL('./client.js', import.meta.url));

/** `command` as it is, or held on one CPU. */
export function onCpu(cpu: number | undefined, command: readonly string[]): string[] {
  return cpu === undefined ? [...command] : ['taskset', '-c', String(cpu), ...command];
}

export class Runner {
  readonly #cpu: number | undefined;
  #child: ChildProcess | undefined;

  constructor(cpu: number | undefined) {
    this.#cpu = cpu;
  }

  /**
   * The figure of one run, or why there is none. A client that does not answer in time may hang in a
   * mount: it is killed, and the caller ends that mount, which lets the kill happen.
   */
  async run(request: ClientRequest, timeoutMs: number): Promise<ClientReply & { hung?: true }> {
    this.#child ??= this.#start();
    const child = this.#child;
    return new Promise((resolve) => {
      const finish = (reply: ClientReply & { hung?: true }, lost: boolean) => {
        clearTimeout(timer);
        child.removeAllListeners('message').removeAllListeners('exit');
        if (lost) this.#child = undefined;
        resolve(reply);
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        child.disconnect();
        child.unref();
        finish({ error: `no answer within ${timeoutMs / 1000} s`, hung: true }, true);
      }, timeoutMs);
      child.once('message', (reply) => finish(reply as ClientReply, false));
      child.once('exit', (code, signal) =>
        finish({ error: `the client ended (${signal ?? code})` }, true),
      );
      child.send(request);
    });
  }

  /** Ends the client; a run that is under way comes back with an error. */
  stop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  #start(): ChildProcess {
    const [file, ...args] = onCpu(this.#cpu, [process.execPath, CLIENT_PATH]);
    return spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }
}
