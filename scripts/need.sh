#!/usr/bin/env bash
# need.sh build|test|bench: makes sure that what a make target needs is there.
#
# Installs missing Debian packages when it can (root and apt-get); otherwise says what is missing
# and fails, before anything else fails less clearly.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"

# package, and a command line that succeeds when it is there
build=(
    "gcc|command -v cc"
    "pkg-config|command -v pkg-config"
    "libssl-dev|pkg-config --exists openssl"
)
bench=(
    "dovecot-imapd|command -v dovecot && test -x /usr/lib/dovecot/imap"
    "isync|command -v mbsync"
    "openssl|command -v openssl"
    "python3|command -v python3"
)
test=(
    "postfix|command -v postfix"
    "msmtp|command -v msmtp"
    "dbus|command -v dbus-daemon"
    "systemd|command -v systemd-analyze"
    "libplist-utils|command -v plistutil"
)

case "${1:-}" in
    build) needs=("${build[@]}") ;;
    bench) needs=("${build[@]}" "${bench[@]}") ;;
    test) needs=("${build[@]}" "${bench[@]}" "${test[@]}") ;;
    *)
        echo "usage: need.sh build|test|bench" >&2
        exit 64
        ;;
esac

missing() {
    local need
    for need in "${needs[@]}"; do
        bash -c "${need#*|}" >/dev/null 2>&1 || echo "${need%%|*}"
    done
}

if ! command -v cargo >/dev/null; then
    echo "need.sh: cargo is missing: install Rust (https://rustup.rs), then run make again" >&2
    exit 69
fi

mapfile -t packages < <(missing)
if [ "${#packages[@]}" -eq 0 ]; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "need.sh: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${packages[@]}"
    mapfile -t packages < <(missing)
fi
if [ "${#packages[@]}" -gt 0 ]; then
    echo "need.sh: missing: ${packages[*]} (names of Debian packages)" >&2
    if command -v apt-get >/dev/null; then
        echo "need.sh: as root: apt-get install ${packages[*]}" >&2
    fi
    exit 69
fi
