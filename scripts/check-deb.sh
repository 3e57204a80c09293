#!/usr/bin/env bash
# check-deb.sh BINARY: the Debian package of BINARY has all of its files, and installs and runs on a
# Debian 12 that has nothing else.
#
# The clean Debian is made once and kept, since that takes a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
binary="${1:?usage: check-deb.sh BINARY}"
base="${POSTRIDER_DEBIAN:-/var/cache/postrider-test/bookworm.tar}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
package="$(scripts/deb.sh "$binary" "$work")"
dpkg-deb --contents "$package" >"$work/contents"
for file in usr/bin/postrider usr/bin/postrider-sendmail usr/lib/systemd/user/postrider.service \
    usr/share/dbus-1/services/org.postrider.Postrider1.service \
    usr/share/dbus-1/interfaces/org.postrider.Postrider1.Manager.xml \
    usr/share/man/man1/postrider.1.gz usr/share/man/man1/postrider-sendmail.1.gz \
    usr/share/man/man5/postrider.toml.5.gz usr/share/man/man7/postrider-dbus.7.gz \
    usr/share/bash-completion/completions/postrider usr/share/zsh/vendor-completions/_postrider \
    usr/share/fish/vendor_completions.d/postrider.fish usr/share/doc/postrider/copyright; do
    if ! grep -qE " \./$file( -> .*)?\$" "$work/contents"; then
        echo "check-deb.sh: the package lacks $file" >&2
        exit 1
    fi
done
if grep -qE ' \./usr/(s?bin|lib)/sendmail' "$work/contents"; then
    echo "check-deb.sh: the package takes the name sendmail" >&2
    exit 1
fi

if [ ! -s "$base" ]; then
    mirror="$(sed -nE 's/^deb (\[[^]]*\] )?([^ ]+) bookworm .*/\2/p; s/^URIs: *([^ ]+).*/\1/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null | head -n 1)" || true
    include="$(dpkg-deb --field "$package" Depends | sed -E 's/ *\([^)]*\)//g; s/ *\|[^,]*//g; s/ //g')"
    debootstrap --variant=minbase --include="$include" bookworm "$work/new" \
        "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    mkdir -p "$(dirname "$base")"
    tar -C "$work/new" --exclude=./var/cache/apt/archives/*.deb -cf "$base.new" .
    mv "$base.new" "$base"
fi
mkdir "$work/clean"
tar -C "$work/clean" -xf "$base"
cp "$package" "$work/clean/tmp/postrider.deb"
chroot "$work/clean" dpkg -i /tmp/postrider.deb >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log" >&2; exit 1; }
chroot "$work/clean" /usr/bin/postrider --version >/dev/null
# It refuses what has no configuration, by the name sendmail as well.
said="$(chroot "$work/clean" env HOME=/root /usr/bin/postrider-sendmail -t </dev/null 2>&1 || echo "exit $?")"
case "$said" in
    *"exit 78") ;;
    *) echo "check-deb.sh: sendmail says: $said" >&2; exit 1 ;;
esac
chroot "$work/clean" dpkg --remove postrider >/dev/null
if [ -e "$work/clean/usr/bin/postrider" ]; then
    echo "check-deb.sh: the program stays after the package was removed" >&2
    exit 1
fi
echo "package: ok"
