#!/usr/bin/env bash
# deb.sh BINARY DIRECTORY: packs what `make install` installs as a Debian package, in DIRECTORY.
#
# The package does not take the name sendmail: that is the administrator's choice (README).
set -euo pipefail
cd "$(dirname "$0")/.."
binary="${1:?usage: deb.sh BINARY DIRECTORY}"
directory="${2:?usage: deb.sh BINARY DIRECTORY}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
root="$work/root"
umask 022
make --no-print-directory -s install BINARY="$binary" PREFIX=/usr DESTDIR="$root"
# zsh reads packages' completions elsewhere in Debian.
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
strip --strip-debug "$root/usr/bin/postrider"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
cat LICENSE-MIT >"$root/usr/share/doc/postrider/copyright"
{
    echo
    echo "Or, at your choice, Apache-2.0: /usr/share/common-licenses/Apache-2.0"
} >>"$root/usr/share/doc/postrider/copyright"
gzip -9n "$root/usr/share/doc/postrider/CHANGELOG.md" "$root/usr/share/doc/postrider/README.md"

version="$("$binary" --version | cut -d' ' -f2)"
architecture="$(dpkg --print-architecture)"
# What the program is linked with decides what it needs.
mkdir -p "$work/debian" "$root/DEBIAN"
echo 'Source: postrider' >"$work/debian/control"
depends="$(cd "$work" && dpkg-shlibdeps -O "$root/usr/bin/postrider" 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')"
cat >"$root/DEBIAN/control" <<CONTROL
Package: postrider
Version: $version-1
Architecture: $architecture
Maintainer: The postrider developers <postrider@postrider.invalid>
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: $depends, ca-certificates
Recommends: dbus-user-session | dbus
Suggests: libsecret-tools, bash-completion
Section: mail
Priority: optional
Description: background mail sync and relay, one service per user
 Keeps IMAP mailboxes and a local Maildir the same, both ways, fetches mail by
 POP3, relays an outbox directory through authenticated SMTP, and shows how
 things are on D-Bus. Each user starts it with: postrider service install
CONTROL
package="$directory/postrider_$version-1_$architecture.deb"
dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$package" >/dev/null
echo "$package"
