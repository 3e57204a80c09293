#!/usr/bin/env bash
# check-service-files.sh BINARY: the files that systemd, D-Bus and launchd read are valid.
#
# The unit is checked as a copy that starts BINARY, since verify wants the program to exist.
set -euo pipefail
cd "$(dirname "$0")/.."
binary="${1:?usage: check-service-files.sh BINARY}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -m 700 "$work/runtime" "$work/home"

sed "s#/usr/bin/postrider#$binary#" systemd/postrider.service >"$work/postrider.service"
grep -qF "ExecStart=$binary run" "$work/postrider.service"
# An unknown key is only a warning to verify; here every word that it says is a failure.
said="$(HOME="$work/home" XDG_RUNTIME_DIR="$work/runtime" \
    systemd-analyze --user verify "$work/postrider.service" 2>&1)" || said="$said (failed)"
if [ -n "$said" ]; then
    echo "systemd/postrider.service: $said" >&2
    exit 1
fi

# 3.0 of 10 as systemd-analyze counts, which takes the unit for one of the system.
if ! systemd-analyze security --offline=true --threshold=30 --no-pager \
    systemd/postrider.service >"$work/security"; then
    grep '✗' "$work/security" >&2
    tail -n 1 "$work/security" >&2
    exit 1
fi

activation=systemd/org.postrider.Postrider1.service
for line in '[D-BUS Service]' 'Name=org.postrider.Postrider1' 'SystemdService=postrider.service'; do
    if ! grep -qxF "$line" "$activation"; then
        echo "$activation: lacks the line $line" >&2
        exit 1
    fi
done

plist=launchd/org.postrider.postrider.plist
plistutil -i "$plist" -o "$work/agent.plist"
python3 - "$plist" <<'PY'
import plistlib, sys
agent = plistlib.load(open(sys.argv[1], "rb"))
assert agent["Label"] == "org.postrider.postrider", "the label is the name of the file"
assert agent["ProgramArguments"][0].startswith("/"), "launchd does not search PATH"
assert agent["KeepAlive"] == {"SuccessfulExit": False}, "a clean exit is not restarted"
PY
echo "service files: ok"
