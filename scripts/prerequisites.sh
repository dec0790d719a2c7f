#!/usr/bin/env bash
# Says in one line what is missing before anything is downloaded or compiled.
# Usage: scripts/prerequisites.sh PYTHON
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$1

stop() {
    printf 'icpo-rs: %s\n' "$*" >&2
    exit 1
}

rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
for tool in cargo rustc; do
    command -v "$tool" >/dev/null || stop "$tool not found: install Rust $rust or later"
done
found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || stop "rustc does not run: select a toolchain with rustup default"
oldest=$(printf '%s\n%s\n' "$rust" "$found" | sort -V | head -n 1)
[[ $oldest == "$rust" ]] || stop "Rust $found is too old: $rust or later is needed"

command -v cc >/dev/null || stop "cc not found: install a C compiler, which Rust needs for linking"

# Only the stand-in for a CUDA driver needs it, so elsewhere than in CI its tests are skipped.
compilers=(g++ clang++ c++)
[[ -z ${CXX:-} ]] || compilers=("$CXX")
if ! command -v "${compilers[@]}" >/dev/null; then
    missing="no C++ compiler (${compilers[*]}), which 'make test-standin' needs"
    [[ -z ${CI:-} ]] || stop "$missing"
    printf 'icpo-rs: %s: its tests will be skipped\n' "$missing" >&2
fi

command -v "$python" >/dev/null || stop "$python not found: install Python 3.10 or later, or set PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    stop "$("$python" --version 2>&1) is too old: set PYTHON=... to Python 3.10 or later"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python cannot create environments: install its venv module (Debian: python3-venv)"
