/**
 * A process that takes locks when it is told to. It is a Perl program, since a thousand of them
 * have to fit: a line of its input is a command, a line of its output `ok`, the name of an errno,
 * or what a lock was found to be.
 *
 *     open F PATH r|w|rw         set|wait|get F r|w|u START LENGTH     fcntl locks
 *     close F                    ofd F r|w|u START LENGTH              of the open file description
 *     dup F G                    flock F s|e|u [wait]                  flock locks
 *     alarm MILLISECONDS         a signal with a handler, again and again until the next answer
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { defer } from '../harness/cleanup.ts';

const PROGRAM = String.raw`
use Fcntl qw(:DEFAULT :flock); use Errno; use Time::HiRes qw(ualarm);
$| = 1; my %file;
my %type = (r => F_RDLCK, w => F_WRLCK, u => F_UNLCK);
my %name = (F_RDLCK, 'r', F_WRLCK, 'w', F_UNLCK, 'u');
my %mode = (r => O_RDONLY, w => O_WRONLY, rw => O_RDWR);
my %command = (set => F_SETLK, wait => F_SETLKW, get => F_GETLK, ofd => 37);
my %flock = (s => LOCK_SH, e => LOCK_EX, u => LOCK_UN);
$SIG{ALRM} = sub {};
sub outcome { return 'ok' if $_[0]; for (sort keys %!) { return $_ if $!{$_} } return 'unknown'; }
while (my $line = <STDIN>) {
  my ($what, $f, @rest) = split ' ', $line;
  my $result;
  if ($what eq 'open') { my $h; $result = outcome(sysopen($h, $rest[0], $mode{$rest[1]})); $file{$f} = $h }
  elsif ($what eq 'close') { $result = outcome(close(delete $file{$f})) }
  elsif ($what eq 'dup') { my $h; $result = outcome(open($h, '+<&', $file{$f})); $file{$rest[0]} = $h }
  elsif ($what eq 'alarm') { ualarm(1000 * $f, 1000 * $f); print "ok\n"; next }
  elsif ($what eq 'flock') {
    $result = outcome(flock($file{$f}, $flock{$rest[0]} | ($rest[1] ? 0 : LOCK_NB)));
  } else {
    my $lock = pack('s s x4 q q l x4', $type{$rest[0]}, 0, $rest[1], $rest[2], 0);
    $result = outcome(fcntl($file{$f}, $command{$what}, $lock));
    if ($what eq 'get' && $result eq 'ok') {
      my ($t, $w, $start, $length, $pid) = unpack('s s x4 q q l x4', $lock);
      $result = $t == F_UNLCK ? 'free' : "$name{$t} $start $length $pid";
    }
  }
  ualarm(0);
  print "$result\n";
}`;

const ANSWER_MS = 15_000;

export class LockClient {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #answers: string[] = [];
  #onAnswer: (() => void) | undefined;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid as number;
    child.stdin?.on('error', () => undefined);
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.#answers.push(line);
      this.#onAnswer?.();
    });
  }

  /** Sends a command and does not wait for its answer. */
  begin(command: string): void {
    this.#child.stdin?.write(`${command}\n`);
  }

  /** The next answer, or `pending` if there is none in time. */
  async answer(timeoutMs = ANSWER_MS): Promise<string> {
    if (this.#answers.length === 0) {
      const answered = new Promise<void>((resolve) => {
        this.#onAnswer = resolve;
      });
      await Promise.race([answered, sleep(timeoutMs, undefined, { ref: false })]);
    }
    return this.#answers.shift() ?? 'pending';
  }

  async ask(command: string): Promise<string> {
    this.begin(command);
    return this.answer();
  }

  /** Ends it by SIGKILL. @returns whether it is gone in time */
  async kill(timeoutMs = ANSWER_MS): Promise<boolean> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return true;
    const gone = once(this.#child, 'exit').then(() => true);
    this.#child.kill('SIGKILL');
    return Promise.race([gone, sleep(timeoutMs, false, { ref: false })]);
  }
}

/** Starts a client, which ends with the test. */
export async function lockClient(): Promise<LockClient> {
  const child = spawn('perl', ['-e', PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child, 'spawn');
  const client = new LockClient(child);
  defer(
    async () => void (await client.kill()),
    () => child.kill('SIGKILL'),
  );
  return client;
}
