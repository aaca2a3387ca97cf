#!/bin/sh
# Writes the two programs that mount(8) looks for, /sbin/mount.sluice and /sbin/mount.fuse.sluice.
# Usage: install-helper.sh [DIRECTORY]    (default: /sbin; `install-helper.sh --remove` takes them away)
#
# mount(8) runs its helpers without PATH, so each names Node by its full path: a plain symbolic link
# to the package works only where Node is /usr/bin/node.
set -eu

fail() {
  echo "install-helper: $1" >&2
  exit 1
}

action=write
if [ "${1-}" = --remove ]; then
  action=remove
  shift
fi
directory=${1:-/sbin}
# Made by this script: nothing else is overwritten or removed.
mark='sluicefs helper of mount(8)'

here=$(cd "$(dirname "$0")" && pwd -P)
cli=$(cd "$here/../.." && pwd -P)/dist/src/main/cli.js
if [ "$action" = write ]; then
  [ -f "$cli" ] || fail "$cli does not exist; in a checkout run \`npm run build\` first"
  node=$(node -p process.execPath) || fail 'node is not in PATH; install Node 20.12 or newer'
  case $node$cli in
    *[[:space:]\'\\]*) fail "blanks and quotes cannot stand in the paths $node and $cli" ;;
  esac
fi

for name in mount.sluice mount.fuse.sluice; do
  file=$directory/$name
  if [ -e "$file" ] || [ -L "$file" ]; then
    grep -qs "$mark" "$file" || fail "$file is not of this script; remove it yourself"
    rm -f "$file"
  fi
  [ "$action" = write ] || continue
  # The text goes to a file beside it first, so that mount(8) never runs half of it.
  {
    echo "#!$node"
    echo "// $mark: written by install-helper.sh"
    echo "import('$cli');"
  } >"$file.new" || fail "$directory is not writable; run it as root"
  chmod 755 "$file.new"
  mv "$file.new" "$file"
  echo "$file"
done
