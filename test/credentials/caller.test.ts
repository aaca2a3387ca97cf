import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const TIME_LIMIT = { timeout: 120_000 };

/** Runs its arguments as a user of so many groups, with these capabilities besides. */
const AS = `
as() { user=$1 groups=$2; shift 2
  if [ -n "$groups" ]; then set -- --groups "$groups" "$@"; else set -- --clear-groups "$@"; fi
  setpriv --reuid "$user" --regid "$user" "$@"; }
show() { find . -mindepth 1 -printf '%p %y %m %U %G\\n' | sort; }
`;

/** What a script prints in an empty directory anybody may write to. */
async function outcome(directory: string, script: string): Promise<string> {
  const command = `${AS}
    d=$1/$(date +%s%N); mkdir -m 777 "$d"; cd "$d"
    node=$2
    { ${script}
    } 2>&1
    cd /; rm -rf "$d"`;
  const done = await run('sh', ['-c', command, 'sh', directory, process.execPath], {
    timeoutMs: 60_000,
  });
  assert.equal(done.timedOut, false, `${script}\n${done.stdout}`);
  return done.stdout;
}

/** Name, script. Each prints the same in the source and in the mount; `show` must come out of it. */
const SCRIPTS: readonly (readonly [string, string])[] = [
  [
    'files, directories, links, pipes and sockets belong to the caller',
    `as 65531 '' sh -c 'umask 027; echo a > f; mkdir d; ln -s f l; mkfifo p; : > d/g; ln f h'
     as 65532 '' "$node" -e 'require("net").createServer().listen("s", () => process.kill(process.pid, 9))'
     show`,
  ],
  [
    'a setgid directory gives its group, and its bit to directories',
    `mkdir g; chgrp 7000 g; chmod 2777 g
     as 65531 '' sh -c 'cd g; : > outsider; chmod 2755 outsider; mkdir -m 755 dir; : > dir/deep'
     as 65532 7000 sh -c 'cd g; : > member; chmod 2755 member; mkdir -m 2755 dir2'; show`,
  ],
  [
    'what is created setgid keeps the bit for members only',
    `mkdir g; chgrp 7000 g; chmod 2777 g
     make='process.umask(0);
       for (const [name, mode] of [["x", 0o6755], ["n", 0o6644]])
         fs.closeSync(fs.openSync(process.argv[1] + name, "w", mode));
       fs.mkdirSync(process.argv[1] + "d", 0o2775);'
     cd g; as 65531 '' "$node" -e "$make" outsider-; as 65532 7000 "$node" -e "$make" member-; cd ..; show`,
  ],
  [
    'a directory that is writable for a supplementary group only',
    `mkdir g; chgrp 7000 g; chmod 770 g
     as 65531 '' sh -c ': > g/no'; as 65531 7000 sh -c ': > g/yes; mkdir g/dir; ln -s x g/link'
     show`,
  ],
  [
    "an ACL that names a group that is not the directory's",
    `mkdir g; setfacl -m g:7001:rwx g
     as 65531 7000 sh -c ': > g/no'; as 65531 7000,7001 sh -c ': > g/yes; mkdir g/dir'; show`,
  ],
  [
    'the fortieth group of a caller',
    `mkdir g h; chgrp 7040 g; chmod 2770 g; chmod 700 h; setfacl -m g:7039:rwx h
     as 65531 "$(seq -s, 7001 7040)" sh -c ': > g/yes; chmod 2755 g/yes; : > h/yes'; show`,
  ],
  [
    'a user and group nobody has heard of',
    `as 4000000001 4000000002 sh -c ': > f; mkdir d; chmod 2755 d'; show`,
  ],
  [
    'capabilities of a caller who is not root',
    `mkdir -m 700 d; as 65531 '' sh -c ': > d/no'
     as 65531 '' --inh-caps +dac_override --ambient-caps +dac_override sh -c ': > d/yes; mkdir d/dir'
     as 65531 '' mknod no c 1 3; as 65531 '' --inh-caps +mknod --ambient-caps +mknod mknod yes c 1 3
     show`,
  ],
  [
    'root with another group, and a user of group 0',
    `setpriv --regid 65531 --clear-groups sh -c ': > f; mkdir d'
     setpriv --reuid 65531 --regid 0 --clear-groups sh -c ': > g'; show`,
  ],
  [
    'default ACLs and the umask',
    `mkdir g; setfacl -d -m u:65532:rwx,g::r-x,o::--- g
     as 65531 '' sh -c 'umask 077; : > f; mkdir d'; chmod 777 g
     as 65531 '' sh -c 'umask 077; : > g/f; mkdir g/d; : > g/d/f'; getfacl -nR .; show`,
  ],
  [
    'set-id bits go with a write, a truncate, an allocation and a new owner',
    `for how in write cut alloc own grp open; do for m in 6755 6745 4644 2755 2745 2644 6711; do
       for who in owner member other; do : > $how-$m-$who; echo 12345 > $how-$m-$who
         chown 65531:7000 $how-$m-$who; chmod $m $how-$m-$who; setfacl -m u:65533:rw $how-$m-$who; done; done; done
     change='
       const { openSync, closeSync, writeSync, ftruncateSync, chownSync, readdirSync } = fs;
       const withFd = (name, flags, act) => { const fd = openSync(name, flags); act(fd); closeSync(fd); };
       const how = {
         open: (name) => withFd(name, "w", () => {}),
         own: (name) => chownSync(name, process.getuid(), -1),
         grp: (name) => chownSync(name, -1, 7001),
         write: (name) => withFd(name, "r+", (fd) => writeSync(fd, "x")),
         cut: (name) => withFd(name, "r+", (fd) => ftruncateSync(fd, 2)),
         alloc: (name) => require("child_process").execFileSync("fallocate", ["-l", "100", name], { stdio: "ignore" }),
       };
       for (const name of readdirSync(".").sort()) {
         if (!name.endsWith(process.argv[1])) continue;
         try { how[name.split("-")[0]](name); } catch (error) { console.log(name, error.code ?? error.status); }
       }'
     as 65531 7001 "$node" -e "$change" owner
     as 65531 7000,7001 "$node" -e "$change" member
     as 65533 '' "$node" -e "$change" other; show`,
  ],
  [
    'root keeps set-id bits when it writes, and loses them when it gives away',
    `for m in 6755 2644 4755; do echo 1 > w$m; chmod $m w$m; echo 1 > o$m; chmod $m o$m; done
     for m in 6755 2644 4755; do echo 2 >> w$m; chown 65531:7000 o$m; done; show`,
  ],
  [
    'file capabilities go with a write and a new owner',
    `for n in w o k; do cp /bin/true $n; setcap cap_net_raw+ep $n; chown 65531 $n; setcap cap_net_raw+ep $n; done
     as 65531 '' sh -c 'echo >> w'; chown 65532 o; for n in w o k; do getcap $n; done; show`,
  ],
  [
    'a caller without groups is not in the group of his own number',
    `mkdir g; : > g/f; cat > try.cjs <<'END'
       const fs = require('fs');
       process.kill(process.pid, 'SIGSTOP');
       try { fs.writeFileSync('g/f', 'x', { flag: 'r+' }); } catch (error) { console.log(error.code); }
END
     (exec setpriv --reuid 65531 --regid 65531 --clear-groups "$node" try.cjs) & pid=$!
     until grep -q '^State:.T' /proc/$pid/status; do sleep 0.05; done
     chgrp $pid g/f; chmod 2766 g/f; kill -CONT $pid; wait $pid
     chgrp 0 g/f try.cjs; show`,
  ],
  [
    'a set-group-id bit of what somebody with CAP_FSETID makes stays',
    `mkdir g; chgrp 7000 g; chmod 2777 g; make='process.umask(0);
       fs.closeSync(fs.openSync(process.argv[1] + "-file", "w", 0o2775));'
     cd g; as 65531 '' "$node" -e "$make" user
     as 65531 '' --inh-caps +fsetid --ambient-caps +fsetid "$node" -e "$make" capable; cd ..; show`,
  ],
  [
    'a chown of nothing is for the owner, also while the file is written',
    `for who in idle busy; do : > $who; chmod 4755 $who; done; exec 9<> busy
     chown='const { chownSync } = fs; for (const name of ["idle", "busy"])
       try { chownSync(name, -1, -1); } catch {}'
     as 65531 '' "$node" -e "$chown" 9>&-; show; exec 9>&-
     for who in idle busy; do chown 65531 $who; chmod 4755 $who; done
     as 65531 '' "$node" -e "$chown"; show`,
  ],
  [
    'an ACL set by somebody outside the group takes the set-group-id bit',
    `for gid in 0 7000 65531; do : > $gid; chown 65531:$gid $gid; chmod 2755 $gid; done
     as 65531 '' setfacl -m u:65532:r 0 7000 65531; show`,
  ],
  [
    'trusted names are for CAP_SYS_ADMIN',
    `: > f; chown 65531 f; setfattr -n trusted.t -v 1 f; setfattr -n user.u -v 1 f
     as 65531 '' getfattr -m - f
     as 65531 '' --inh-caps +sys_admin --ambient-caps +sys_admin getfattr -m - f
     setpriv --bounding-set -sys_admin --inh-caps -sys_admin getfattr -m - f; show`,
  ],
];

test('acting as the caller', TIME_LIMIT, async (t) => {
  const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
  const mount = await startMount({ source, mountpoint });

  for (const [name, script] of SCRIPTS) {
    await t.test(name, async () => {
      const wanted = await outcome(mount.source, script);
      assert.match(wanted, /\.\/\S+ [fdlps] /, 'the script made nothing');
      assert.equal(await outcome(mount.mountpoint, script), wanted);
    });
  }

  await t.test('three users at once get what is theirs', async () => {
    const script = `
      mkdir -m 1777 all
      for user in 65531 65532 65533; do for worker in 1 2 3; do
        as $user 7000 sh -c 'i=0; while [ $i -lt 100 ]; do
          : > all/$0-$1-$i; mkdir all/$0-$1-$i.d; i=$((i + 1)); done' $user $worker &
      done; done
      i=0; while [ $i -lt 200 ]; do : > all/0-0-$i; i=$((i + 1)); done
      wait
      find all -mindepth 1 | wc -l
      find all -mindepth 1 -printf '%f %U %G\\n' | awk '{ split($1, part, "-"); if (part[1] != $2 || $2 != $3) print }'`;
    assert.equal(await outcome(mount.mountpoint, script), '2000\n');
  });

  await t.test("another user's rights are not the daemon's", async () => {
    const script = `
      mkdir -m 755 mine; : > mine/f; mkdir -m 1777 sticky; : > sticky/roots
      as 65531 '' sh -c ': > mine/new; mkdir mine/dir; rm mine/f; rm sticky/roots; mv sticky/roots sticky/gone
        : > sticky/own; ln mine/f sticky/hard; echo > mine/f; chmod 777 mine; chown 65531 mine/f; touch -d 1999-01-01 mine/f
        setfattr -n user.a -v b mine/f; setfacl -m u:65531:rwx mine; cat mine/f'; show`;
    const wanted = await outcome(mount.source, script);
    assert.match(wanted, /Permission denied/);
    assert.equal(await outcome(mount.mountpoint, script), wanted);
  });

  await mount.stop();
});

test('a quota of the file system behind holds for its users', TIME_LIMIT, async (t) => {
  const fs = await makeFileSystem('tmpfs', {
    mountOptions: 'usrquota,usrquota_block_hardlimit=1m,usrquota_inode_hardlimit=20,mode=777',
  });
  if ('skip' in fs) {
    t.skip(fs.skip);
    return;
  }
  const mount = await startMount({ source: fs.path });
  const script = `
    as 65531 '' dd if=/dev/zero of=big bs=64k count=64 status=none; stat -c %s big; rm -f big
    as 65531 '' sh -c 'i=0; while [ $i -lt 30 ]; do : > f$i; i=$((i + 1)); done' | tail -1; ls | wc -l
    as 65532 '' sh -c ': > other'; show | grep other`;
  const wanted = await outcome(fs.path, script);
  assert.match(wanted, /quota/i);
  assert.equal(await outcome(mount.mountpoint, script), wanted);
  await mount.stop();
});

test(
  'a lane that cannot take its own ids back ends, and nothing else does',
  TIME_LIMIT,
  async () => {
    const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
    const mount = await startMount({
      source,
      mountpoint,
      // With one lane main creates nothing itself.
      flags: ['--lanes=1'],
      env: { FAULT_RESTORE: '5' },
      nodeFlags: ['--import', new URL('../faults/saboteur.js', import.meta.url).href],
      allowErrors: [/a lane died/, /could not take its own ids back/],
    });
    const made = await outcome(
      mountpoint,
      `as 65531 '' "$node" -e '
       let failed = 0;
       for (let i = 0; i < 100; i++) try { fs.mkdirSync("u" + i); } catch { failed++; }
       console.log("told:", failed);'
     i=0; while [ $i -lt 50 ]; do : > r$i; i=$((i + 1)); done
     find . -name 'u*' ! -uid 65531; find . -name 'r*' ! -uid 0; find . -name 'r*' | wc -l`,
    );
    const [told, ...rest] = made.trim().split('\n') as [string, ...string[]];
    assert.ok(Number(told.replace('told: ', '')) >= 10, made);
    assert.deepEqual(rest, ['50']);
    assert.ok(((await mount.status())['laneRestarts'] as number) >= 10);
    await mount.stop();
  },
);
