/**
 * Many processes that wait for the same lock, made by one: as forks of a small Perl program a
 * thousand of them need little memory. Each prints `w` before it asks for the lock, `g` when it has
 * it, and ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';

/** How the lock is asked for: the whole file, or by the child's number one byte of it. */
export type HerdLock = 'write' | 'read' | 'byte' | 'flock';

const PROGRAM = `
use Fcntl qw(:DEFAULT :flock); $| = 1;
my ($path, $count, $kind) = @ARGV;
for my $i (0 .. $count - 1) {
  my $pid = fork; die "fork: $!" unless defined $pid;
  next if $pid;
  sysopen(my $f, $path, O_RDWR) or die "open: $!";
  syswrite STDOUT, 'w';
  if ($kind eq 'flock') { flock($f, LOCK_EX) or die "flock: $!" }
  else {
    my @range = $kind eq 'byte' ? ($i, 1) : (0, 0);
    my $type = $kind eq 'read' ? F_RDLCK : F_WRLCK;
    fcntl($f, F_SETLKW, pack('s s x4 q q l x4', $type, 0, @range, 0)) or die "fcntl: $!";
  }
  syswrite STDOUT, 'g';
  exit 0;
}
my $failed = 0;
while (wait != -1) { $failed++ if $? }
exit($failed ? 1 : 0);`;

const POLL_MS = 20;

export class Herd {
  waiting = 0;
  granted = 0;
  errors = '';
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(path: string, count: number, kind: HerdLock) {
    const args = ['-e', PROGRAM, path, String(count), kind];
    this.#child = spawn('perl', args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      for (const byte of chunk) {
        if (byte === 0x77) this.waiting++;
        else this.granted++;
      }
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    this.ended = once(this.#child, 'close').then(([code]) => code as number | null);
    defer(
      async () => this.kill(),
      () => this.kill(),
    );
  }

  /** Waits until so many have asked, or have the lock. */
  async until(what: 'waiting' | 'granted', count: number, timeoutMs: number): Promise<boolean> {
    const untilMs = performance.now() + timeoutMs;
    while (this[what] < count && performance.now() < untilMs) await sleep(POLL_MS);
    return this[what] >= count;
  }

  async endsWithin(timeoutMs: number): Promise<boolean> {
    return Promise.race([this.ended.then(() => true), sleep(timeoutMs, false, { ref: false })]);
  }

  /** Ends all of them by SIGKILL. */
  kill(): void {
    try {
      process.kill(-(this.#child.pid as number), 'SIGKILL');
    } catch {
      // They are gone.
    }
  }
}
