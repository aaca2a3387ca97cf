/** The service manager's end of sd_notify(3): a datagram socket that tests read. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM } from '../../src/shared/sys/constants.ts';
import { addressOf, close, sendto, socket } from '../../src/shared/sys/libc.ts';
import { defer } from '../harness/cleanup.ts';
import { syscall } from '../harness/native.ts';

const isArm64 = process.arch === 'arm64';
const SYS_BIND = isArm64 ? 200 : 49;
const SYS_RECVFROM = isArm64 ? 207 : 45;
const MAX_MESSAGE_BYTES = 4096;
const POLL_MS = 20;
const NEWS_TIMEOUT_MS = 20_000;

/** struct sockaddr_un of a path, or of an abstract `@name`. */
function socketAddress(name: string): Uint8Array {
  const isAbstract = name.startsWith('@');
  const path = isAbstract ? `\0${name.slice(1)}` : `${name}\0`;
  const bytes = new Uint8Array(new SharedArrayBuffer(2 + Buffer.byteLength(path)));
  bytes[0] = AF_UNIX;
  bytes.set(Buffer.from(path), 2);
  return bytes;
}

export class NotifyReceiver {
  /** Every datagram so far. */
  readonly news: string[] = [];
  readonly #fd: number;
  readonly #address: Uint8Array;
  readonly #buffer = new Uint8Array(new SharedArrayBuffer(MAX_MESSAGE_BYTES));

  /** @param name a path, or `@name` for an abstract one. Goes away with the test. */
  constructor(name: string) {
    this.#address = socketAddress(name);
    this.#fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bound = syscall(SYS_BIND, this.#fd, addressOf(this.#address), this.#address.length);
    if (bound < 0) throw new Error(`cannot bind ${name}: ${bound}`);
    defer(async () => {
      close(this.#fd);
    });
  }

  /** Takes in what has come. */
  receive(): void {
    for (;;) {
      const size = syscall(
        SYS_RECVFROM,
        this.#fd,
        addressOf(this.#buffer),
        MAX_MESSAGE_BYTES,
        MSG_DONTWAIT,
      );
      if (size < 0) return;
      this.news.push(Buffer.from(this.#buffer.subarray(0, size)).toString());
    }
  }

  /** Sends to this socket until its queue is full. @returns how many datagrams that took */
  fill(): number {
    const sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    let count = 0;
    const { length } = this.#address;
    const address = addressOf(this.#address);
    const text = addressOf(this.#buffer);
    while (sendto(sender, text, 1, MSG_DONTWAIT, address, length) === 1) count++;
    close(sender);
    return count;
  }

  /** The first datagram that matches. @throws when none comes in time */
  async waitFor(pattern: RegExp, timeoutMs = NEWS_TIMEOUT_MS): Promise<string> {
    const untilMs = performance.now() + timeoutMs;
    for (;;) {
      this.receive();
      const found = this.news.find((text) => pattern.test(text));
      if (found !== undefined) return found;
      if (performance.now() > untilMs) {
        throw new Error(`${pattern} never came; there came ${JSON.stringify(this.news)}`);
      }
      await sleep(POLL_MS);
    }
  }
}
