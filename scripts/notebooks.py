"""Executes the notebooks of examples/, and checks what is committed of them.

    python scripts/notebooks.py --quick              # what CI does: small, and nothing is written
    python scripts/notebooks.py 01 03                # at full size; outputs go into the files
    python scripts/notebooks.py --check              # executes nothing

Outputs are written without what changes from run to run by itself: times of execution and versions
of the interpreter. A notebook that warns, fails, or shows a path of the machine is not written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples"

#: Bytes of a file.
MOST = 300_000

#: Seconds that one cell may take.
PATIENCE = {"quick": 300, "full": 6 * 3600}

#: Ids name what a cell is about, so that they survive edits and diffs can be read.
ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")

#: What outputs may not show, and what to call it.
UNWANTED = {
    "an absolute path": re.compile(
        r"(?<![\w.:/-])/(?:home|root|tmp|work|mnt|opt|usr|var|Users|private)/|\b[A-Z]:\\\w"
    ),
    "an address in memory": re.compile(r"\b0x[0-9a-f]{8,}\b"),
    "a date with a time": re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d"),
    "a warning": re.compile(r"\b\w*Warning\b"),
}

#: The only metadata that files have.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code is 1 if a notebook is not as it should be."""
    options = _options(arguments)
    faults = 0
    for path in _chosen(options.names):
        if options.check:
            found = problems(json.loads(path.read_text(encoding="utf-8")))
            found += too_large(path.read_text(encoding="utf-8"))
        else:
            found = _execute(path, quick=options.quick)
        for problem in found:
            print(f"{path.relative_to(ROOT)}: {problem}", file=sys.stderr)
        faults += len(found)
    return 1 if faults else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="how names of files begin (default: all files)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="at reduced size; writes nothing")
    how.add_argument("--check", action="store_true", help="only look at the files")
    return parser.parse_args(arguments)


def notebooks() -> list[Path]:
    """All of them, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def _chosen(names: Sequence[str]) -> list[Path]:
    paths = notebooks()
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            known = ", ".join(path.name for path in paths)
            raise SystemExit(f"notebooks: expected the beginning of one of {known}, got {name!r}")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def _execute(path: Path, *, quick: bool) -> list[str]:
    """Runs a notebook, and writes it if it ran at full size and nothing is wrong with it."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    # One thread a process: as many as cores are slower on matrices this small, and sums of several
    # threads need not be the same.
    os.environ |= {"ICPO_QUICK": "1" if quick else "0", "OMP_NUM_THREADS": "1"}
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=PATIENCE["quick" if quick else "full"],
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    start = time.monotonic()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        return [f"a cell failed:\n{error}"]
    print(f"{path.relative_to(ROOT)}: {time.monotonic() - start:.0f} s", flush=True)
    cleaned = clean(notebook)
    found = problems(cleaned)
    text = as_text(cleaned)
    if quick:
        return found
    found += too_large(text)
    if not found:
        path.write_text(text, encoding="utf-8")
    return found


def as_text(notebook: dict[str, Any]) -> str:
    """The file: the same notebook gives the same bytes."""
    import nbformat

    return str(nbformat.writes(nbformat.from_dict(notebook))).rstrip("\n") + "\n"


def clean(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without what differs between two runs that came to the same."""
    cells = []
    for cell in notebook["cells"]:
        kept = {**cell, "metadata": {}}
        if cell["cell_type"] == "code":
            kept["outputs"] = [_output(output) for output in cell["outputs"]]
        cells.append(kept)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def _output(output: dict[str, Any]) -> dict[str, Any]:
    kept = dict(output)
    if "metadata" in kept:
        kept["metadata"] = {}
    kept.pop("transient", None)
    return kept


def problems(notebook: dict[str, Any]) -> list[str]:
    """What is wrong with an executed notebook; empty: nothing."""
    import nbformat

    found = [*_wrong_ids(notebook["cells"])]
    if found:  # it would give them other ones
        return found
    try:
        nbformat.validate(nbformat.from_dict(notebook))
    except nbformat.ValidationError as error:
        return [f"is no notebook of version 4.5: {error.message}"]
    if notebook["metadata"] != METADATA:
        found.append(f"metadata: expected {METADATA}, got {notebook['metadata']}")
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        name = f"cell {cell['id']}"
        if cell["execution_count"] != count:
            found.append(
                f"{name}: expected to be executed as number {count}, got {cell['execution_count']}"
            )
        for output in cell["outputs"]:
            found += [f"{name}: {problem}" for problem in _wrong_output(output)]
    return found


def _wrong_ids(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    for cell in cells:
        if not ID.match(cell["id"]):
            yield f"cell {cell['id']}: expected an id of lower-case words joined by hyphens"
        if cell["id"] in seen:
            yield f"cell {cell['id']}: expected each id once"
        seen.add(cell["id"])


def _wrong_output(output: dict[str, Any]) -> Iterator[str]:
    kind = output["output_type"]
    if kind == "error":
        yield f"failed: {output['ename']}: {output['evalue']}"
    if kind == "stream" and output["name"] != "stdout":
        yield f"wrote to standard error: {_joined(output['text'])[:200]!r}"
    for text in _texts(output):
        for name, pattern in UNWANTED.items():
            match = pattern.search(text)
            if match:
                place = text[max(0, match.start() - 40) : match.end() + 40]
                yield f"shows {name}: {place!r}"


def _texts(output: dict[str, Any]) -> Iterator[str]:
    if output["output_type"] == "stream":
        yield _joined(output["text"])
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/") or kind == "image/svg+xml":
            yield _joined(value)


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def too_large(text: str) -> list[str]:
    """Whether a file would be larger than notebooks in a repository should be."""
    size = len(text.encode())
    return [f"expected at most {MOST:,} bytes, got {size:,}"] if size > MOST else []


if __name__ == "__main__":
    sys.exit(main())
