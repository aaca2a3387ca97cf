/**
 * Mounts with layers, as a child of the tests: what it prints is what they judge.
 * Usage: program.js SCENE SOURCE MOUNTPOINT LOG
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  type AsyncLayer,
  Errno,
  type LayerModule,
  type Mounted,
  mount,
  readOnlyLayer,
  traceLayer,
} from '../../src/main/index.ts';

const LAYER_TIMEOUT_MS = 300;
const execute = promisify(execFile);
const [scene = '', source = '', mountpoint = '', logFile = ''] = process.argv.slice(2);

/** In a process of its own: the one that serves must not touch the mount. */
async function shell(script: string): Promise<string> {
  const ran = await execute('sh', ['-uc', script, 'sh', mountpoint], { timeout: 15_000 });
  return ran.stdout;
}

/** What each name is answered, and whether the mount lives on. */
async function outcomes(names: readonly string[], mounted: Mounted): Promise<object> {
  const tried = await shell(
    `for name in ${names.join(' ')}; do
       if text=$(LC_ALL=C cat "$1/$name" 2>&1); then echo "$name=ok"; else echo "$name=\${text##*: }"; fi
     done`,
  );
  const lives = await shell('cat "$1/f"; echo new > "$1/made"; cat "$1/made"');
  // A release comes a moment after the close.
  for (let i = 0; i < 50 && mounted.status().handles > 0; i++) await sleep(20);
  const { lookups, handles } = mounted.status();
  return { tried: tried.trim().split('\n'), lives, lookups, handles };
}

/** Whether the kernel gives back all that it was answered: then only the root is left. */
async function forgetsAll(mounted: Mounted): Promise<boolean> {
  for (let i = 0; i < 50 && mounted.status().inodes > 1; i++) {
    await execute('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
    await sleep(50);
  }
  return mounted.status().inodes === 1;
}

function start(layers: readonly (AsyncLayer | LayerModule)[]): Promise<Mounted> {
  const layerTimeoutMs = LAYER_TIMEOUT_MS;
  return mount({ source, mountpoint, logFile, logLevel: 'debug', layers, layerTimeoutMs });
}

const bad = { module: new URL('./bad-layer.js', import.meta.url) };

const badAsync: AsyncLayer = {
  name: 'bad-async',
  async lookup(request, next) {
    const answer = await next.lookup(request);
    switch (request.name.toString()) {
      case 'throws':
        throw new Error('boom');
      case 'text':
        return 'text' as never;
      case 'never':
        return new Promise<never>(() => undefined);
      case 'held':
        await sleep(100 * LAYER_TIMEOUT_MS, undefined, { ref: false });
        return answer;
      case 'late':
        await sleep(2 * LAYER_TIMEOUT_MS);
        return answer;
      case 'outside':
        return request.name.readUInt32LE(1000) as never;
      case 'unheard':
        // Nobody hears of its failure: by itself it would end the process.
        next.lookup({ ...request, name: 'text' as never });
        return Errno.EIO;
      case 'floods':
        return (
          await Promise.all(
            Array(2000)
              .fill(0)
              .map(() => next.getattr(request)),
          )
        )[0] as never;
      default:
        return answer;
    }
  },
  // Answers well, and forgets what is below.
  release: () => 0,
  getxattr(request, next) {
    if (request.name.toString() !== 'user.twice') return next.getxattr(request);
    const answersTwice = {
      // biome-ignore lint/suspicious/noThenProperty: the mistake under test
      then(resolve: (answer: Errno) => void) {
        resolve(Errno.ENODATA);
        resolve(Errno.EPERM);
      },
    };
    return answersTwice as never;
  },
};

const SCENES: Readonly<Record<string, () => Promise<object>>> = {
  async lanes() {
    const mounted = await start([bad]);
    const names = 'throws hangs text nothing promise errno outside mutates foreign badRequest link';
    const result = await outcomes(names.split(' '), mounted);
    await mounted.unmount();
    return result;
  },
  async main() {
    const mounted = await start([badAsync]);
    const result = await outcomes(
      'throws text never late outside unheard floods'.split(' '),
      mounted,
    );
    await shell('getfattr -n user.twice "$1/f" 2>/dev/null; true');
    await sleep(3 * LAYER_TIMEOUT_MS);
    await mounted.unmount();
    return result;
  },
  /** All kinds at once, each of which has to let things through as they are. */
  async through() {
    let count = 0;
    const counting: AsyncLayer = {
      name: 'counting',
      otherwise(request, next) {
        count++;
        return next.run(request);
      },
    };
    const mounted = await start([counting, traceLayer({ file: `${logFile}.trace` })]);
    const work = await shell(
      `cd "$1" && mkdir d && echo text > d/a && ln d/a d/b && ln -s a d/c && mv d/b d/e && cat d/c
       chmod 640 d/a && stat -c '%a %h %s' d/a && ls d && truncate -s 3 d/a && cat d/a && echo
       dd if=/dev/zero of=d/big bs=1M count=3 status=none && stat -c %s d/big && cp d/big d/copy
       cmp d/big d/copy && touch -d @12345.5 d/a && stat -c %.Y d/a && rm -r d && ls`,
    );
    const isForgotten = await forgetsAll(mounted);
    const { handles } = mounted.status();
    await mounted.unmount();
    return { work, isCounted: count > 50, isForgotten, handles };
  },
  async readOnly() {
    const mounted = await start([readOnlyLayer()]);
    const work = await shell(
      `cat "$1/f"; ls "$1"; LC_ALL=C; export LC_ALL
       for what in 'echo x > "$1/f"' 'touch "$1/n"' 'rm "$1/f"' 'mkdir "$1/n"' 'mv "$1/f" "$1/n"' \\
         'chmod 600 "$1/f"' 'ln "$1/f" "$1/n"'; do
         sh -c "$what" sh "$1" 2>&1 | grep -o 'Read-only file system'
       done`,
    );
    await mounted.unmount();
    return { work };
  },
  /** Whether who waits for a layer can be killed. */
  async kill() {
    const mounted = await mount({ source, mountpoint, logFile, layers: [badAsync] });
    const beganMs = performance.now();
    const text = await shell('timeout -s KILL 0.5 cat "$1/held"; echo $?; cat "$1/f"');
    const isSoon = performance.now() - beganMs < 10_000;
    await mounted.unmount();
    return { text, isSoon };
  },
  /** More requests at once than are let in, and than may wait. */
  async pressure() {
    let running = 0;
    let most = 0;
    const slow: AsyncLayer = {
      name: 'slow',
      async getxattr(request, next) {
        running++;
        most = Math.max(most, running);
        await sleep(20);
        running--;
        return next.getxattr(request);
      },
    };
    const mounted = await start([slow]);
    const clients =
      'for i in $(seq 150); do getfattr -n user.x "$1/f" >/dev/null 2>&1 & done; wait';
    await shell(`${clients}; cat "$1/f"`);
    await mounted.unmount();
    return { isBounded: most <= 128, isParallel: most > 4 };
  },
};

process.stdout.write(`${JSON.stringify(await SCENES[scene]?.())}\n`);
