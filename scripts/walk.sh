#!/usr/bin/env bash
# walk.sh [--check|--write] DIR: walks through a day with postrider, against a mail server of its own on
# loopback, and prints what a terminal shows. DIR holds postrider and postrider-mailserver.
#
# --write puts it into README.md, --check compares it with what stands there. Ports, times and ids,
# which are others each time, are replaced.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=print
case "${1:-}" in
    --check | --write)
        mode="${1#--}"
        shift
        ;;
esac
dir="$(cd "${1:?usage: walk.sh [--check|--write] DIR}" && pwd)"

work="$(mktemp -d "${TMPDIR:-/tmp}/postrider-walk.XXXXXX")"
server_pid=
cleanup() {
    local pid
    trap - EXIT
    exec 3>&- 4<&- || true
    for pid in $(cat "$work/daemon.pid" 2>/dev/null) $server_pid; do
        kill "$pid" 2>/dev/null || true
        # It may be no child of this shell, and writes until it ends.
        timeout 10 tail --pid="$pid" -f /dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir -p "$work/home/.config/postrider" "$work/home/.local/state" "$work/bin"
mkdir -m 700 "$work/run"
ln -s "$dir/postrider" "$work/bin/postrider"

mkfifo "$work/server" "$work/answers"
"$dir/postrider-mailserver" --demo <"$work/server" >"$work/answers" 2>"$work/server.log" &
server_pid=$!
exec 3>"$work/server" 4<"$work/answers"
read -r -t 10 ports <&4
port() {
    sed -n "s/.*\"$1_port\":\([0-9]*\).*/\1/p" <<<"$ports"
}

cat >"$work/home/.config/postrider/config.toml" <<TOML
[daemon]
bus = "private"

[account.demo]
address  = "demo@example.org"
password = { file = "~/.secret" }
imap     = { host = "127.0.0.1", port = $(port imap), tls = "none", user = "demo" }
smtp     = { host = "127.0.0.1", port = $(port smtp), tls = "none" }
TOML
(umask 077 && echo demo >"$work/home/.secret")
printf 'From: demo@example.org\nTo: mira@example.com\nSubject: Tomorrow\n\nAt nine?\n' \
    >"$work/home/letter.eml"

in_home() {
    (cd "$work/home" && env -i PATH="$work/bin:$PATH" HOME="$work/home" XDG_RUNTIME_DIR="$work/run" \
        LC_ALL=C.UTF-8 bash -c "$1" 2>&1)
}

# show COMMAND: as a person types it, with its answer.
show() {
    local code=0
    printf '$ %s\n' "$1"
    in_home "$1" || code=$?
    [ "$code" -eq 0 ] || printf '[exit %s]\n' "$code"
}

say() {
    printf '\n# %s\n' "$1"
}

# until_shown COMMAND TEXT: waits, unseen.
until_shown() {
    local end=$((SECONDS + 30))
    until in_home "$1" 2>/dev/null | grep -qE "$2"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "walk.sh: not within 30 s: $1 shows $2" >&2
            exit 1
        fi
        sleep 0.05
    done
}

walk() {
    echo '# The first sync, and how things are.'
    show 'postrider sync'
    show 'postrider status'
    say 'From now on by itself; elsewhere: postrider service install'
    printf '$ postrider run &\n'
    env -i PATH="$work/bin:$PATH" HOME="$work/home" XDG_RUNTIME_DIR="$work/run" \
        "$work/bin/postrider" run >"$work/daemon.log" 2>&1 &
    echo $! >"$work/daemon.pid"
    until_shown 'postrider status' 'demo +● idle'
    show 'postrider status'
    show 'postrider mailboxes'
    say 'A message is queued, and sent.'
    show 'postrider send letter.eml'
    until_shown 'postrider outbox list' 'the outbox is empty'
    show 'postrider outbox'
    say 'The password was changed elsewhere.'
    in_home 'echo old > .secret'
    # Logins are asked for with the next connection.
    echo disconnect >&3
    until_shown 'postrider status' 'needs login'
    show 'postrider status'
    show 'postrider explain AuthFailed'
    show 'postrider sync'
    say 'Mended.'
    show 'echo demo > .secret; postrider sync && postrider status'
}

normal() {
    sed -E -e "s#$work/home#/home/demo#g" -e "s/(127\.0\.0\.1:)[0-9]+/\1993/g" \
        -e 's/[0-9]+ (s|min) ago/1 s ago/g' -e 's/up [0-9]+ s/up 1 s/' \
        -e 's/for [0-9]+ s([:,])/for 1 s\1/' -e 's/in [0-9]+ (s|min)/in 1 min/g' \
        -e 's/[0-9.]+ (MB|kB|KiB|MiB|B)\/s/1.0 MB\/s/' -e 's/ in [0-9.]+ (m?s)\b/ in 0.1 s/' \
        -e 's/^[a-z0-9]{15}$/ID/'
}

said="$(walk 2>&1 | normal)"
case "$mode" in
    print) printf '%s\n' "$said" ;;
    write | check)
        printf '%s\n' "$said" >"$work/said"
        python3 - "$mode" "$work/said" <<'PY'
import difflib, sys
mode, said = sys.argv[1], open(sys.argv[2], encoding="utf-8").read()
readme = open("README.md", encoding="utf-8").read()
begin, end = "<!-- walk: made by scripts/walk.sh -->\n```console\n", "```\n<!-- walk ends -->"
head, rest = readme.split(begin)
old, tail = rest.split(end)
if mode == "write":
    open("README.md", "w", encoding="utf-8").write(head + begin + said + end + tail)
elif old != said:
    lines = difflib.unified_diff(old.splitlines(), said.splitlines(), "README.md", "now", lineterm="")
    print("\n".join(lines))
    sys.exit("walk.sh: README.md shows something else; to mend it: scripts/walk.sh --write DIR")
else:
    print("walk: ok")
PY
        ;;
esac
