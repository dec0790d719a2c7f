#!/usr/bin/env bash
# Runs make targets in the given order up to the first that fails, then says how long each took.
# Usage: scripts/phases.sh TARGET...
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
    "${MAKE:-make}" --no-print-directory "$phase"
    timings+=("$(printf '%5d s  %s' $((SECONDS - start)) "$phase")")
done
