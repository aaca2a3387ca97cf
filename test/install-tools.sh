#!/bin/sh
# Installs what the tests run inside a mount, on Debian and Ubuntu. Silent when nothing is missing.
set -eu

# command=package
TOOLS='
  git=git fio=fio setfattr=attr getfattr=attr setfacl=acl rsync=rsync sqlite3=sqlite3 strace=strace
  stress-ng=stress-ng promtool=prometheus fsfreeze=util-linux
  systemd-analyze=systemd man=man-db mandoc=mandoc
  fusermount3=fuse3 bindfs=bindfs mergerfs=mergerfs mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs
  mkfs.btrfs=btrfs-progs prlimit=util-linux setpriv=util-linux nsenter=util-linux cc=gcc
  tar=tar diff=diffutils zsh=zsh fish=fish setcap=libcap2-bin python3=python3 perl=perl pgrep=procps
'
PATH="$PATH:/usr/sbin:/sbin"

missing=''
for tool in $TOOLS; do
  command -v "${tool%%=*}" >/dev/null 2>&1 || missing="$missing ${tool#*=}"
done
[ -e /usr/include/linux/fuse.h ] && [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1 || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

# shellcheck disable=SC2086 # a list of packages
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
if ! command -v apt-get >/dev/null 2>&1; then
  echo "install-tools: no apt-get here; install these yourself: $missing" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "install-tools: needs root to install: $missing" >&2
  exit 1
fi

echo "install-tools: installing $missing"
log=$(mktemp)
# The servers that come with packages are not wanted: the tests start their own. Packages ask this
# file whether they may start one.
policy=/usr/sbin/policy-rc.d
made=''
[ -e "$policy" ] || made=$policy
trap 'rm -f "$log" $made' EXIT
[ -z "$made" ] || printf '#!/bin/sh\nexit 101\n' >"$made"
[ -z "$made" ] || chmod 755 "$made"
if ! {
  apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $missing
} >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "install-tools: apt-get failed; install these yourself: $missing" >&2
  exit 1
fi
# Nor shall they start with the machine.
case " $missing " in
  *' prometheus '*) systemctl --quiet disable prometheus.service >/dev/null 2>&1 || true ;;
esac
