#!/usr/bin/env bash
# demo.sh DIR: shows postrider at work, with a mail server of its own on loopback.
#
# DIR holds the programs postrider and postrider-mailserver. Needs no account and no network,
# touches nothing outside a temporary directory, and stays until Ctrl-C; with DEMO_ONCE=1, or when
# nobody sits at a terminal, it ends by itself.
set -euo pipefail

usage='usage: demo.sh DIR (the directory of postrider and postrider-mailserver)'
dir="$(cd "${1:?$usage}" && pwd)"
for program in postrider postrider-mailserver; do
    if [ ! -x "$dir/$program" ]; then
        echo "demo.sh: $dir/$program is missing: cargo build -p $program" >&2
        exit 66
    fi
done

work="$(mktemp -d "${TMPDIR:-/tmp}/postrider-demo.XXXXXX")"
mail="$work/home/Mail/demo"
outbox="$work/home/Mail/Outbox"
log="$work/daemon.log"
server_pid=
daemon_pid=
drain_pid=

cleanup() {
    local pid
    trap - EXIT
    # Ctrl-C once more must not leave half of it behind.
    trap '' INT TERM
    exec 3>&- 4<&- || true
    for pid in $drain_pid $daemon_pid $server_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'echo; exit 130' INT TERM

fail() {
    echo >&2
    echo "demo.sh: $1" >&2
    if [ -s "$log" ]; then
        echo "The last lines of the daemon's log:" >&2
        tail -n 15 "$log" >&2
    fi
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1)) limit="$1" what="$2"
    shift 2
    until "$@"; do
        kill -0 "$server_pid" 2>/dev/null || fail "the mail server ended"
        [ -z "$daemon_pid" ] || kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended"
        [ "$SECONDS" -lt "$end" ] || fail "not within $limit s: $what"
        sleep 0.02
    done
}

# ask LINE: sends a line to the mail server and prints its answer, which ends where the complaint
# about a word that it does not know begins.
ask() {
    local answer
    printf '%s\nthat-is-all\n' "$1" >&3
    while read -r -t 10 answer <&4 || fail "the mail server does not answer: $1"; do
        case "$answer" in
            *that-is-all*) return ;;
        esac
        printf '%s\n' "$answer"
    done
}

step() {
    printf '\n== %s\n\n' "$1"
}

now() {
    # Microseconds, where the shell can tell.
    local time="${EPOCHREALTIME:-0}"
    echo "${time//[.,]/}"
}

took() {
    local end
    end="$(now)"
    if [ "$1" != 0 ]; then
        echo "   after $(((end - $1) / 1000)) ms"
    fi
}

postrider() {
    "$work/postrider" "$@"
}

answers() {
    case "$(postrider status 2>/dev/null)" in
        '' | *'no service is running'*) return 1 ;;
    esac
}

# All messages in the Maildir.
messages() {
    find "$mail" -type f \( -path '*/new/*' -o -path '*/cur/*' \) 2>/dev/null | sort
}

has_messages() {
    [ "$(messages | wc -l)" -ge "$1" ]
}

subject() {
    local text
    text="$(sed -n -e 's/^Subject: //p' -e '/^$/q' "$1")"
    case "$text" in
        '=?utf-8?B?'*'?=')
            text="${text#=?utf-8?B?}"
            printf '%s' "${text%\?=}" | base64 -d
            ;;
        *) printf '%s' "$text" ;;
    esac
}

list() {
    local file where
    messages | while read -r file; do
        where="${file#"$mail"/}"
        printf '   %-16s %-4s %s\n' "${where%/*}" "$(flags "$file")" "$(subject "$file")"
    done
}

flags() {
    case "$1" in
        *:2,*) printf '%s' "${1##*:2,}" ;;
    esac
}

# find_subject TEXT: sets $found to the file of the message.
find_subject() {
    found="$(grep -rlxF "Subject: $1" "$mail/INBOX/new" "$mail/INBOX/cur" | head -n 1)" || true
    [ -n "$found" ]
}

is_flagged() {
    ask 'show INBOX' | grep -F 'It works' | grep -qF 'Flagged'
}

is_sent() {
    ask sent | grep -qF 'Greetings from the outbox'
}

start_server() {
    mkfifo "$work/server" "$work/answers"
    "$dir/postrider-mailserver" --demo <"$work/server" >"$work/answers" 2>"$work/server.log" &
    server_pid=$!
    exec 3>"$work/server" 4<"$work/answers"
    local ports
    read -r -t 10 ports <&4 || fail "the mail server does not start: $(cat "$work/server.log")"
    imap_port="$(sed -n 's/.*"imap_port":\([0-9]*\).*/\1/p' <<<"$ports")"
    smtp_port="$(sed -n 's/.*"smtp_port":\([0-9]*\).*/\1/p' <<<"$ports")"
}

write_config() {
    mkdir -p "$work/home" "$work/config/postrider" "$work/state"
    mkdir -m 700 "$work/run"
    cat >"$work/config/postrider/config.toml" <<TOML
[daemon]
bus = "private"

[account.demo]
address = "demo@example.org"
password = "demo"

[account.demo.imap]
host = "127.0.0.1"
port = $imap_port
tls = "none"
user = "demo"

[account.demo.smtp]
host = "127.0.0.1"
port = $smtp_port
tls = "none"
TOML
    chmod 600 "$work/config/postrider/config.toml"
    cat >"$work/postrider" <<SH
#!/bin/sh
# postrider with the home of the demo
unset DBUS_SESSION_BUS_ADDRESS POSTRIDER_CONFIG
export HOME='$work/home' XDG_CONFIG_HOME='$work/config'
export XDG_STATE_HOME='$work/state' XDG_RUNTIME_DIR='$work/run'
exec '$dir/postrider' "\$@"
SH
    chmod 700 "$work/postrider"
}

start_daemon() {
    "$work/postrider" run >"$log" 2>&1 &
    daemon_pid=$!
}

arrival() {
    step "1. The mail of the account arrives in the Maildir"
    local begin
    begin="$(now)"
    start_daemon
    wait_for 20 "nine messages in $mail" has_messages 9
    list
    took "$begin"
    wait_for 20 "the daemon answers" answers
}

delivery() {
    step "2. A new mail on the server shows here at once"
    local begin
    begin="$(now)"
    ask 'deliver INBOX "It works" "This mail was put on the server a moment ago."' >/dev/null
    wait_for 10 "the new mail in INBOX/new" find_subject 'It works'
    printf '   %-16s %-4s %s\n' INBOX/new '' 'It works'
    took "$begin"
}

flagging() {
    step "3. A flag set here shows on the server"
    echo "   A mail reader marks it read and flagged: it renames new/X to cur/X:2,FS"
    local begin name
    name="$(basename "$found")"
    begin="$(now)"
    mv "$found" "$mail/INBOX/cur/${name%%:2,*}:2,FS"
    wait_for 10 "the flag on the server" is_flagged
    echo "   On the server:"
    ask 'show INBOX' | grep -F 'It works' |
        sed -n 's/.*"flags":\[\([^]]*\)\].*"subject":"\([^"]*\)".*/   \2: \1/p' | sed 's/\\\\/\\/g'
    took "$begin"
}

sending() {
    step "4. A message dropped into the outbox is sent"
    local begin
    cat >"$outbox/tmp/greetings" <<MAIL
From: Demo <demo@example.org>
To: A Friend <friend@example.org>
Subject: Greetings from the outbox

Dropped as a file, accepted by SMTP.
MAIL
    begin="$(now)"
    mv "$outbox/tmp/greetings" "$outbox/new/greetings"
    wait_for 10 "the SMTP server accepts it" is_sent
    echo "   The SMTP server has:"
    ask sent |
        sed -n 's/.*"recipients":\[\([^]]*\)\].*"subject":"\([^"]*\)".*/   \2, to \1/p'
    took "$begin"
}

next() {
    step "Try next, in another terminal"
    cat <<TEXT
   p=$work/postrider
   \$p status
   \$p mailboxes
   \$p sync
   \$p check
   printf 'From: demo@example.org\nTo: a@example.org\n\nHi\n' | \$p sendmail -t
   echo 'deliver INBOX "Lunch" "At noon?"' > $work/server
   find $mail -type f
TEXT
}

echo "postrider, with a mail server on loopback, in $work"
start_server
write_config
arrival
delivery
flagging
sending
step "5. How things are: postrider status"
postrider status | sed 's/^/   /'
if [ -n "${DEMO_ONCE:-}" ] || [ ! -t 0 ]; then
    step "Done"
    exit 0
fi
next
echo
echo "   Ctrl-C ends it and leaves nothing behind."
cat <&4 >/dev/null &
drain_pid=$!
wait "$daemon_pid" || fail "the daemon ended"
fail "the daemon ended"
