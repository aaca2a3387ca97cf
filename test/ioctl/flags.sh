# What lsattr and chattr say in the directory $1: by root, and by a user who owns some of it.
cd "$1"
umask 022
as_user() { setpriv --reuid 1001 --regid 1001 --clear-groups "$@"; }
show() {
  echo "\$ $*"
  "$@" 2>&1
  echo "= $?"
}

echo hello > f
mkdir d
echo mine > own
mkdir owned
chown 1001:1001 own owned
show lsattr -d f d own owned

for flag in i a A d S D c C j s e P; do
  show chattr "+$flag" f
  show lsattr f
  show sh -c 'echo x > f'
  show sh -c 'echo x >> f'
  show mv f g
  show mv g f
  show ln f link
  show rm -f link
  show chattr "-$flag" f
done
show cat f

for flag in i a A d S D T C c P; do
  show chattr "+$flag" d
  show lsattr -d d
  show touch d/x
  show lsattr d
  show rm -f d/x
  show chattr "-$flag" d
  show rm -rf d/x
done

for flag in i a A d S j C c P; do
  show as_user chattr "+$flag" own
  show as_user chattr "+$flag" owned
  show as_user chattr "+$flag" f
  show lsattr -d own owned f
  show chattr "-$flag" own
  show chattr "-$flag" owned
done

show chattr -p 42 f
show lsattr -p f
show as_user chattr -p 43 own
show as_user chattr -p 44 f
show lsattr -p own f
show chattr -p 44 +P d
show lsattr -dp d
show touch d/inherits
show lsattr -p d/inherits
chmod 4755 own
show as_user chattr -p 45 own
show stat -c %a own
chmod 000 own
show as_user lsattr own
show lsattr own

ln -s f symlink
show lsattr symlink
mkfifo fifo
show lsattr fifo
