"""The tiny model as a folder in the transformers format, made once and then reused."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import transformers

from icpo.bars import without_bars
from icpo.errors import ConfigError
from icpo.generation.torch_engine import TorchEngine
from icpo.tiny.evaluate import Accuracy, evaluate
from icpo.tiny.pretrain import Recipe, pretrain
from icpo.tiny.tokenizer import make_tokenizer

__all__ = ["RECORD", "TinyModel", "pretrain_tiny"]

#: File beside the weights: how they were made.
RECORD = "pretraining.json"

#: The modules that decide the weights.
SOURCES = (
    "task.py",
    "words.py",
    "corpus.py",
    "tokenizer.py",
    "batches.py",
    "model.py",
    "pretrain.py",
)

#: What the record holds.
RECORDED = {"recipe", "code", "files", "accuracy", "seconds", "versions"}

#: Lines of progress in all.
LINES = 20


@dataclass(frozen=True)
class TinyModel:
    """A pretrained tiny model on disk."""

    #: Its folder.
    path: Path
    accuracy: Accuracy
    #: What pretraining took.
    seconds: float
    #: Whether it was there already.
    reused: bool


def pretrain_tiny(
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    force: bool = False,
    report: Callable[[str], None] = print,
) -> TinyModel:
    """Makes the folder of a tiny model, or finds it made.

    A folder with a model of the same recipe, made by the same code, is reused; one with another
    tiny model is replaced. The folder appears when it is complete, and not before.

    Args:
        out: the folder, with weights, tokenizer, and a record of how they were made.
        recipe: how to pretrain; None: `Recipe()`.
        force: pretrain even if the same model is there.
        report: is given lines of progress.

    Raises:
        ConfigError: if `out` holds something else.
    """
    out = Path(out)
    recipe = Recipe() if recipe is None else recipe
    made_by = {"recipe": asdict(recipe), "code": _code()}
    there = _find(out)
    if there is not None and not force:
        changed = _changes(out, there, made_by)
        if not changed:
            report(f"{out}: reused, since it holds this model already")
            return _as_model(out, there, reused=True)
        report(f"{out}: pretraining again, since {changed}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as staging:
        new = Path(staging) / "new"
        record = _make(new, recipe, made_by, report)
        if out.exists():
            out.rename(Path(staging) / "old")
        new.rename(out)
    return _as_model(out, record, reused=False)


def _find(out: Path) -> dict[str, Any] | None:
    """The record in a folder; None if there is nothing at all."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        record = json.loads((out / RECORD).read_bytes())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not record.keys() >= RECORDED:
        raise ConfigError(
            f"out: expected a new folder, or one that pretrain-tiny made, got {out}, which has "
            f"no readable {RECORD}"
        )
    return record


def _changes(out: Path, there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Why the model that is there is not the one that is wanted; empty if it is."""
    if there["code"] != wanted["code"]:
        return "the code that made it has changed"
    settings = _flat(there["recipe"])
    differing = [
        f"{name} {settings.get(name)} instead of {value}"
        for name, value in _flat(wanted["recipe"]).items()
        if settings.get(name) != value
    ]
    if differing:
        return f"it was made with {', '.join(differing)}"
    damaged = [name for name, digest in there["files"].items() if _digest(out / name) != digest]
    return f"{', '.join(damaged)} changed since it was made" if damaged else ""


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _make(
    folder: Path, recipe: Recipe, made_by: dict[str, Any], report: Callable[[str], None]
) -> dict[str, Any]:
    """Pretrains, fills the folder, and returns the record in it."""
    start = time.monotonic()
    tokenizer = make_tokenizer()
    model = pretrain(tokenizer, recipe, _reporter(recipe.steps, report))
    seconds = time.monotonic() - start
    tokenizer.save_pretrained(folder)
    with without_bars():
        model.save_pretrained(folder)
    engine = TorchEngine(model, end_ids=[tokenizer.eos_token_id], pad_id=tokenizer.pad_token_id)
    accuracy = evaluate(engine, tokenizer)
    record = {
        **made_by,
        "files": {path.name: _digest(path) for path in sorted(folder.iterdir())},
        "accuracy": asdict(accuracy),
        "seconds": round(seconds, 1),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _reporter(steps: int, report: Callable[[str], None]) -> Callable[[int, float], None]:
    every = math.ceil(steps / LINES)
    start = time.monotonic()

    def progress(done: int, loss: float) -> None:
        if done % every == 0 or done == steps:
            rate = done / max(time.monotonic() - start, 1e-9)
            minutes, seconds = divmod(round((steps - done) / rate), 60)
            report(
                f"step {done:,} of {steps:,}  loss {loss:.3f}  {rate:.0f} steps/s  "
                f"{minutes}:{seconds:02d} left"
            )

    return progress


def _as_model(path: Path, record: dict[str, Any], *, reused: bool) -> TinyModel:
    return TinyModel(path, Accuracy(**record["accuracy"]), record["seconds"], reused)


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _code() -> str:
    """SHA-256 of the modules that decide the weights."""
    sources = resources.files("icpo.tiny")
    digest = hashlib.sha256()
    for name in SOURCES:
        # Line ends, which version control may rewrite, do not matter.
        digest.update(sources.joinpath(name).read_text(encoding="utf-8").encode())
    return digest.hexdigest()
