# Boots systemd as the first process of namespaces of its own, with no units but those in $1 and
# nothing of this machine's configuration. Run by: unshare -m -p -C -u -i --fork sh boot-systemd.sh UNITS
set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
# The version 2 hierarchy alone, where a machine mixes both.
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /etc/systemd/system
mount --bind "$1" /usr/lib/systemd/system
for generators in /usr/lib/systemd/system-generators /etc/systemd/system-generators; do
  [ ! -d "$generators" ] || mount -t tmpfs tmpfs "$generators"
done
# It is not to set clock, hostname, sysctls and the like.
export container=sluice-test
exec /usr/lib/systemd/systemd --unit=trial.target --show-status=no --log-target=null
