/** What a run has found, for docs/conformance.md. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { projectRoot } from '../harness/paths.ts';
import type { Judgement } from './judge.ts';

export interface ConfigurationResult {
  readonly fileSystem: string;
  readonly flags: readonly string[];
  readonly judgements: readonly Judgement[];
}

/** The result file. */
export interface RunResults {
  readonly commit: string;
  readonly date: string;
  readonly machine: string;
  readonly isFull: boolean;
  readonly configurations: readonly ConfigurationResult[];
  /** File systems that could not be made, and why. */
  readonly notRun: readonly string[];
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
      cwd: projectRoot,
      encoding: 'utf8',
      timeout: 10_000,
    }).trim();
  } catch {
    return 'unknown';
  }
}

export class Results {
  readonly #isFull: boolean;
  readonly #configurations: ConfigurationResult[] = [];
  readonly #notRun: string[] = [];
  readonly #nowhere = new Set<string>();

  constructor(isFull: boolean) {
    this.#isFull = isFull;
  }

  add(fileSystem: string, flags: readonly string[], judgements: readonly Judgement[]): void {
    this.#configurations.push({ fileSystem, flags, judgements });
    for (const { name, verdict } of judgements) {
      if (verdict === 'not here') this.#nowhere.add(name);
    }
  }

  notRun(fileSystem: string, reason: string): void {
    this.#notRun.push(`${fileSystem}: ${reason}`);
  }

  /** Whether a behaviour said itself that it cannot be tried. */
  isExcused(name: string): boolean {
    return this.#nowhere.has(name);
  }

  /** Writes the result file, if one is wanted. */
  write(): void {
    const file = process.env['SLUICE_POSIX_RESULTS'];
    if (file === undefined) return;
    const run: RunResults = {
      commit: commit(),
      date: new Date().toISOString().slice(0, 10),
      machine: `Linux ${release()} ${process.arch}, ${cpus().length} CPUs, Node ${process.version}`,
      isFull: this.#isFull,
      configurations: this.#configurations,
      notRun: this.#notRun,
    };
    writeFileSync(file, JSON.stringify(run));
  }
}
