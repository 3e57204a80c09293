#!/usr/bin/env bash
# check-man.sh BINARY: the manual pages that BINARY makes are sound, to mandoc and to groff.
set -euo pipefail
binary="${1:?usage: check-man.sh BINARY}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$binary" man --all "$work"
status=0
for page in "$work"/*; do
    # The library that makes the pages of the commands puts breaks where they do nothing.
    said="$(mandoc -T lint -W warning "$page" |
        grep -vE 'skipping paragraph macro: br (before|after) sp' || true)"
    said+="$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 \
        man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null || echo 'man fails')"
    if [ -n "$said" ]; then
        echo "$(basename "$page"): $said" >&2
        status=1
    fi
done
[ "$status" -eq 0 ] && echo "manual: $(ls "$work" | wc -l) pages ok"
exit "$status"
