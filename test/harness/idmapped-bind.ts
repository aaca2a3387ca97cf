/** Idmapped mounts of directories. */
import { defer } from './cleanup.ts';
import { missingTool, run } from './run.ts';
import { tempDir } from './temp-dir.ts';

const TIMEOUT_MS = 20_000;

/**
 * mount(8) can do it only since util-linux 2.39, so these are its system calls: open_tree(2) with
 * OPEN_TREE_CLONE and O_CLOEXEC, mount_setattr(2) with MOUNT_ATTR_IDMAP and a user namespace that
 * has the map, move_mount(2).
 */
const SCRIPT = `
  my ($source, $target, $map) = @ARGV;
  my $empty = '';
  sub checked { my ($what, $result) = @_; die "$what: errno " . ($! + 0) . "\\n" if $result < 0; $result }
  my $pid = open(my $child, '-|', 'unshare', '--user', 'sh', '-c', 'echo; exec sleep 20') or die $!;
  <$child>;
  for my $file ('uid_map', 'gid_map') {
    open(my $out, '>', "/proc/$pid/$file") or die $!;
    print $out $map;
    close($out) or die $!;
  }
  open(my $namespace, '<', "/proc/$pid/ns/user") or die $!;
  kill('KILL', $pid);
  my $tree = checked('open_tree', syscall(428, -100, $source, 0x80001));
  my $attr = pack('Q4', 0x100000, 0, 0, fileno($namespace));
  checked('mount_setattr', syscall(442, $tree, $empty, 0x1000, $attr, 32));
  checked('move_mount', syscall(429, $tree, $empty, -100, $target, 4));
`;

/**
 * Binds a directory to a new place where ids are mapped; it is unmounted when the test ends.
 * @param map "INSIDE OUTSIDE COUNT": what the file system has as INSIDE is shown as OUTSIDE
 * @returns the place, or why there is none
 */
export async function idmappedBind(
  source: string,
  map: string,
): Promise<{ path: string } | { failure: string }> {
  const missing = await missingTool('perl', 'unshare');
  if (missing !== undefined) return { failure: missing };
  const path = await tempDir('idmapped');
  const made = await run('perl', ['-e', SCRIPT, source, path, map], { timeoutMs: TIMEOUT_MS });
  if (made.code !== 0) return { failure: made.stderr };
  defer(async () => {
    await run('umount', ['-l', path], { timeoutMs: TIMEOUT_MS });
  });
  return { path };
}
