#!/usr/bin/env bash
# need.sh build|deb|test|bench: makes sure that what a make target needs is there.
#
# Installs missing Debian packages when it can (root and apt-get); otherwise says what is missing
# and fails, before anything else fails less clearly.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"

# package, and a command line that succeeds when it is there
build=(
    "gcc|command -v cc"
    "libc6-dev|test -e /usr/include/stdio.h"
    "pkg-config|command -v pkg-config"
    "libssl-dev|pkg-config --exists openssl"
)
deb=(
    "dpkg-dev|command -v dpkg-shlibdeps"
    "binutils|command -v strip"
)
bench=(
    "dovecot-imapd|command -v dovecot && test -x /usr/lib/dovecot/imap"
    "dovecot-pop3d|test -x /usr/lib/dovecot/pop3"
    "mpop|command -v mpop"
    "isync|command -v mbsync"
    "openssl|command -v openssl"
    "postfix|command -v postfix"
    "msmtp|command -v msmtp"
    "python3|command -v python3"
)
test=(
    "curl|command -v curl"
    "libmailtools-perl|perl -MMail::Address -e 1"
    "git-email|test -x /usr/lib/git-core/git-send-email"
    "neomutt|command -v neomutt"
    "offlineimap3|command -v offlineimap"
    "mutt|command -v mutt"
    "s-nail|command -v s-nail"
    "emacs-nox|command -v emacs"
    "aerc|command -v aerc"
    "notmuch|command -v notmuch"
    "maildir-utils|command -v mu"
    "mu4e|ls -d /usr/share/emacs/site-lisp/elpa-src/mu4e-*"
    "bsdutils|command -v script"
    "zsh|command -v zsh"
    "fish|command -v fish"
    "mandoc|command -v mandoc"
    "jq|command -v jq"
    "debootstrap|command -v debootstrap"
    "libglib2.0-bin|command -v gdbus"
    "util-linux|command -v fsfreeze"
    "iproute2|command -v ip"
    "dbus|command -v dbus-daemon"
    "systemd|command -v systemd-analyze"
    "libplist-utils|command -v plistutil"
    "e2fsprogs|command -v mkfs.ext4 && command -v e2fsck"
    "gnome-keyring|command -v gnome-keyring-daemon"
    "libsecret-tools|command -v secret-tool"
    "cron|command -v crontab"
    "sshfs|command -v sshfs"
    "openssh-sftp-server|test -x /usr/lib/openssh/sftp-server"
    "exfatprogs|command -v mkfs.exfat"
    "exfat-fuse|command -v mount.exfat-fuse"
    "libical3|ldconfig -p | grep -q libical.so.3"
    "libpcre3|ldconfig -p | grep -q libpcreposix.so.3"
    "libpq5|ldconfig -p | grep -q libpq.so.5"
    "libsasl2-modules|ls /usr/lib/*/sasl2/libplain.so"
    "libwrap0|ldconfig -p | grep -q libwrap.so.0"
    "libxapian30|ldconfig -p | grep -q libxapian.so.30"
)
# Debian's cyrus-imapd conflicts with dovecot-imapd: it is unpacked here, not installed.
cyrus="${POSTRIDER_CYRUS:-/var/cache/postrider-test/cyrus}"

# OpenSMTPD conflicts with postfix, and that of Debian 12 fails in every TLS handshake: the one of Debian 13 is
# unpacked, with the libraries that it was built for.
opensmtpd="${POSTRIDER_OPENSMTPD:-/var/cache/postrider-test/opensmtpd-7}"
opensmtpd_suite=trixie
opensmtpd_debs=(opensmtpd libc6 libcrypt1 libdb5.3t64 libevent-2.1-7t64 libpam0g libssl3t64 zlib1g
    libzstd1 libaudit1 libcap-ng0)
# Debian's nullmailer conflicts with postfix as well.
nullmailer="${POSTRIDER_NULLMAILER:-/var/cache/postrider-test/nullmailer}"

case "${1:-}" in
    build) needs=("${build[@]}") ;;
    deb) needs=("${build[@]}" "${deb[@]}") ;;
    bench) needs=("${build[@]}" "${bench[@]}") ;;
    test) needs=("${build[@]}" "${deb[@]}" "${bench[@]}" "${test[@]}") ;;
    *)
        echo "usage: need.sh build|deb|test|bench" >&2
        exit 64
        ;;
esac

missing() {
    local need
    for need in "${needs[@]}"; do
        bash -c "${need#*|}" >/dev/null 2>&1 || echo "${need%%|*}"
    done
}

# Whether the unpacked Cyrus starts at all.
has_cyrus() {
    local bin="$cyrus/usr/lib/cyrus/bin" lib
    test -x "$bin/master" && test -x "$bin/imapd" && test -x "$bin/ctl_cyrusdb" || return 1
    lib=$(echo "$cyrus"/usr/lib/*-linux-gnu)
    ! LD_LIBRARY_PATH="$lib" ldd "$bin/imapd" | grep -q 'not found'
}

unpack_cyrus() {
    local debs
    debs=$(mktemp -d)
    echo "need.sh: unpacking Cyrus into $cyrus"
    (cd "$debs" && apt-get download -q cyrus-imapd cyrus-common)
    mkdir -p "$cyrus"
    for deb in "$debs"/*.deb; do
        dpkg-deb -x "$deb" "$cyrus"
    done
    rm -r "$debs"
}

# unpack DIRECTORY PROGRAM PACKAGE: unpacks a package that cannot be installed here.
unpack() {
    local debs
    test -x "$1/$2" && return
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        echo "need.sh: unpacking $3 into $1"
        debs=$(mktemp -d)
        (cd "$debs" && { apt-get download -q "$3" || { apt-get update -q && apt-get download -q "$3"; }; })
        mkdir -p "$1"
        dpkg-deb -x "$debs"/*.deb "$1"
        rm -r "$debs"
    fi
    if ! test -x "$1/$2"; then
        echo "need.sh: missing: $3, unpacked by dpkg-deb -x into $1" >&2
        exit 69
    fi
}

# Fetches from the mirror that this machine uses, into lists of its own.
unpack_opensmtpd() {
    local work mirror options
    test -x "$opensmtpd/usr/sbin/smtpd" && return
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        echo "need.sh: unpacking OpenSMTPD of $opensmtpd_suite into $opensmtpd"
        work=$(mktemp -d)
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | sort -u | head -n 1)
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $opensmtpd_suite main" \
            > "$work/sources.list"
        mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/root"
        : > "$work/status"
        options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State=$work" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work"
            -o APT::Sandbox::User=root -o Acquire::Languages=none
            -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
        apt-get "${options[@]}" update
        (cd "$work/debs" && apt-get "${options[@]}" download "${opensmtpd_debs[@]}")
        for deb in "$work"/debs/*.deb; do
            dpkg-deb -x "$deb" "$work/root"
        done
        ln -s usr/lib "$work/root/lib"
        if test -d "$work/root/usr/lib64"; then ln -s usr/lib64 "$work/root/lib64"; fi
        mkdir -p "$work/root/dev" "$work/root/etc" "$work/root/var" "$work/root/run" "$work/root/tmp"
        mkdir -p "$(dirname "$opensmtpd")"
        chmod 755 "$work/root"
        mv "$work/root" "$opensmtpd"
        rm -r "$work"
    fi
    if ! test -x "$opensmtpd/usr/sbin/smtpd"; then
        echo "need.sh: missing: OpenSMTPD of $opensmtpd_suite in $opensmtpd: ${opensmtpd_debs[*]}," >&2
        echo "need.sh: unpacked by dpkg-deb -x, with lib and lib64 as links to usr/lib and usr/lib64" >&2
        exit 69
    fi
}

# Debian 12 has none.
cargo_deb() {
    cargo deb --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deb --version 3.8.0
}

if ! command -v cargo >/dev/null; then
    echo "need.sh: cargo is missing: install Rust (https://rustup.rs), then run make again" >&2
    exit 69
fi

mapfile -t packages < <(missing)
if [ "${#packages[@]}" -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
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
case "$1" in
    deb) cargo_deb ;;
    test) cargo_deb; unpack_opensmtpd ;;
    bench) unpack "$nullmailer" usr/sbin/nullmailer-send nullmailer ;;
esac
if [ "$1" = test ] && ! has_cyrus; then
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        apt-get update -q
        unpack_cyrus
    fi
    if ! has_cyrus; then
        echo "need.sh: missing: Cyrus in $cyrus (Debian's cyrus-imapd and cyrus-common," >&2
        echo "need.sh: unpacked by dpkg-deb -x; dovecot-imapd does not allow them installed)" >&2
        exit 69
    fi
fi
