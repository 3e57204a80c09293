#!/usr/bin/env bash
# deb.sh BINARY DIRECTORY: packs what `make install` installs as a Debian package, in DIRECTORY.
#
# cargo-deb does it, by [package.metadata.deb] of Cargo.toml; this makes the tree that it packs.
set -euo pipefail
cd "$(dirname "$0")/.."
binary="${1:?usage: deb.sh BINARY DIRECTORY}"
directory="${2:?usage: deb.sh BINARY DIRECTORY}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tree="$work/release/tree"
umask 022
mkdir "$work/release"
cp "$binary" "$work/release/postrider"
make --no-print-directory -s install BINARY="$binary" PREFIX=/usr DESTDIR="$tree"
# zsh reads packages' completions elsewhere in Debian.
mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
rm -r "$tree/usr/bin"
find "$tree/usr/share/man" -type f -exec gzip -9n {} +
gzip -9n "$tree/usr/share/doc/postrider/CHANGELOG.md" "$tree/usr/share/doc/postrider/README.md"
CARGO_TARGET_DIR="$work" cargo deb --quiet --no-build --fast --strip --output "$directory/"
