/** The actor processes that work in one root, seen from the process that compares. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Job, Outcome, TreeEntry, Trial, Turn } from './operations.ts';
import type { User } from './users.ts';

const ACTOR_PROGRAM = fileURLToPath(new URL('./actor.js', import.meta.url));

/** A job that takes longer is taken for a hung file system. */
const JOB_TIMEOUT_MS = 30_000;
/** After SIGKILL a process may still hang in the kernel: it is left behind. */
const STOP_TIMEOUT_MS = 5_000;

interface Answer {
  answer?: unknown;
  failure?: string;
}

class Actor {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #root: string;

  constructor(root: string, user: User | undefined) {
    this.#root = root;
    const ids = user === undefined ? [] : [user.uid, user.gid, ...user.groups];
    this.#child = spawn(process.execPath, [ACTOR_PROGRAM, root, ...ids.map(String)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { stdin, stdout } = this.#child;
    if (stdin === null || stdout === null) {
      throw new Error('The actor has no pipes');
    }
    // An actor that has died reads nothing; the end of its output tells.
    stdin.on('error', () => undefined);
    this.#reader = createInterface({ input: stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /**
   * Does a job.
   *
   * @throws when the actor dies or does not answer in time. Then it is killed, but what waits for a
   *   FUSE daemon's answer dies only with the connection: nobody waits for it here.
   */
  async do(job: Job): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
    const timer = new AbortController();
    const line = await Promise.race([
      this.#lines.next(),
      sleep(JOB_TIMEOUT_MS, undefined, { signal: timer.signal }),
    ]).finally(() => timer.abort());
    if (line === undefined) {
      this.#child.kill('SIGKILL');
      throw new Error(`Job ${job.job} in ${this.#root} hung for ${JOB_TIMEOUT_MS / 1000} s`);
    }
    if (line.done) {
      throw new Error(`The actor in ${this.#root} died in job ${job.job}`);
    }
    const { answer, failure } = JSON.parse(line.value) as Answer;
    if (failure !== undefined) {
      throw new Error(`Job ${job.job} in ${this.#root} failed: ${failure}`);
    }
    return answer;
  }

  async stop(): Promise<void> {
    this.#reader.close();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await Promise.race([exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    }
    this.#child.stdin?.destroy();
    this.#child.stdout?.destroy();
    this.#child.unref();
  }
}

/** Four actors, say, in one root. */
export class Crew {
  readonly #actors: readonly Actor[];
  readonly #takeTurns: boolean;

  /** @param users - who the actors are, the first one root; none stands for the caller's own user */
  constructor(root: string, users: readonly (User | undefined)[]) {
    this.#actors = users.map((user) => new Actor(root, user));
    this.#takeTurns = users.some((user) => user !== undefined);
  }

  get #first(): Actor {
    return this.#actors[0];
  }

  async prepare(trial: string): Promise<void> {
    await this.#first.do({ job: 'prepare', trial, actors: this.#actors.length });
  }

  /** One outcome list per turn. */
  async perform(name: string, trial: Trial): Promise<Outcome[][]> {
    const outcomes = this.#takeTurns
      ? await this.#oneAfterTheOther(name, trial)
      : await Promise.all(trial.map((turn) => this.#take(name, turn)));
    await Promise.all(this.#actors.map((actor) => actor.do({ job: 'finish' })));
    return outcomes;
  }

  async #oneAfterTheOther(name: string, trial: Trial): Promise<Outcome[][]> {
    const outcomes: Outcome[][] = [];
    for (const turn of trial) {
      outcomes.push(await this.#take(name, turn));
    }
    return outcomes;
  }

  async #take(trial: string, { actor, sequence }: Turn): Promise<Outcome[]> {
    const job = { job: 'perform', trial, actor, sequence } as const;
    return (await this.#actors[actor].do(job)) as Outcome[];
  }

  /** The tree of a trial below any root. */
  async snapshot(root: string, trial: string): Promise<TreeEntry[]> {
    return (await this.#first.do({ job: 'snapshot', root, trial })) as TreeEntry[];
  }

  /** syncfs(2): what the kernel holds back for the mount reaches the backing directory. */
  async flush(): Promise<void> {
    await this.#first.do({ job: 'flush' });
  }

  /** Removes a trial's directory: 0 or -errno. */
  async remove(trial: string): Promise<number> {
    return (await this.#first.do({ job: 'remove', trial })) as number;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#actors.map((actor) => actor.stop()));
  }
}
