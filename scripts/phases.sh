#!/usr/bin/env bash
# Runs phases in the given order up to the first that fails, then says how long each took.
# A phase is a make target, or several in quotes, of which two run at a time.
# Usage: scripts/phases.sh PHASE...
set -euo pipefail

timings=()
phase=
report() {
    local status=$?
    printf '\n== phases\n'
    ((${#timings[@]} == 0)) || printf '%s\n' "${timings[@]}"
    if ((status == 0)); then
        printf '%5d s  all\n' "$SECONDS"
    else
        printf '%5d s  all: stopped in %s\n' "$SECONDS" "$phase"
    fi
}
trap report EXIT

for phase in "$@"; do
    printf '\n== %s\n' "$phase"
    start=$SECONDS
    read -ra targets <<<"$phase"
    ((${#targets[@]} == 1)) || targets+=(--jobs=2)
    "${MAKE:-make}" --no-print-directory "${targets[@]}"
    timings+=("$(printf '%5d s  %s' $((SECONDS - start)) "$phase")")
done
