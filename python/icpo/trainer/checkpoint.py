"""Checkpoints: whole or not there, and exact.

A checkpoint is a folder that transformers can load as a model (or peft, as adapters), with the
optimizer's state, the run's state, and a list of all its files with sizes and digests. It is
written under another name beside its place and renamed when everything is on the disk, so that a
run killed at any moment leaves the checkpoints before it as they were.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from icpo import __version__
from icpo.bars import without_bars
from icpo.errors import CheckpointError

__all__ = ["Checkpoint", "Checkpoints"]

MANIFEST, STATE, OPTIMIZER = "manifest.json", "state.json", "optimizer.pt"

#: Of the layout of a checkpoint; changes when older ones can no longer be read.
FORMAT = 1

_NAME = re.compile(r"step-(\d+)")

#: Beside the checkpoints: one that is being written, one that is being replaced by another of the
#: same step, and one that is being removed.
_WRITING, _REPLACED, _REMOVED = ".writing", ".replaced", ".removed"

#: What comes of a full disk: torch and safetensors have errors of their own for it.
_WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class Checkpoint:
    """One that is there."""

    folder: Path
    #: Steps that the run had made.
    step: int

    def check(self) -> None:
        """Compares every file with the list.

        Raises:
            CheckpointError: naming the first file that is missing or was changed.
        """
        manifest = self._json(MANIFEST)
        if manifest.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.folder}: expected format {FORMAT}, got {manifest.get('format')!r}; it was "
                f"written by version {manifest.get('icpo')!r}, this is {__version__!r}"
            )
        for name, (size, digest) in manifest["files"].items():
            file = self.folder / name
            if not file.is_file():
                raise CheckpointError(f"{self.folder}: {name}: the file is missing")
            if file.stat().st_size != size:
                raise CheckpointError(
                    f"{self.folder}: {name}: expected {size} bytes, got {file.stat().st_size}"
                )
            if _digest(file) != digest:
                raise CheckpointError(f"{self.folder}: {name}: the contents have changed")

    def state(self) -> dict[str, Any]:
        """What the run needs beside model and optimizer, as it was given to `Checkpoints.save`."""
        state: dict[str, Any] = self._json(STATE)["run"]
        return state

    def restore(self, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Puts parameters and optimizer state back, bit by bit.

        Raises:
            CheckpointError: if they are not those of such a model.
        """
        tensors: dict[str, torch.Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            tensors.update(safetensors.torch.load_file(file))
        _load_parameters(self.folder, model, tensors)
        # To the CPU first: the device that it was saved from may not be here.
        saved = torch.load(self.folder / OPTIMIZER, map_location="cpu", weights_only=True)
        try:
            optimizer.load_state_dict(saved)
        except ValueError as error:
            raise CheckpointError(f"{self.folder / OPTIMIZER}: {error}") from error

    def _json(self, name: str) -> dict[str, Any]:
        file = self.folder / name
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"{file}: can not be read: {error.strerror or error}") from error
        except ValueError as error:
            raise CheckpointError(f"{file}: expected JSON: {error}") from error
        return dict(value)


class Checkpoints:
    """The checkpoints of a run, in a folder of their own."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Clears away what a killed run has left. The newest `keep` will be kept."""
        self.folder = folder
        self.keep = keep
        for entry in self._entries():
            if entry.name.endswith(_REPLACED):
                place = entry.with_name(entry.name.removesuffix(_REPLACED))
                if not place.exists():  # killed between the two renamings of `_put`
                    entry.rename(place)
        for entry in self._entries():
            if entry.name.endswith((_WRITING, _REPLACED, _REMOVED)):
                with _held(entry):
                    shutil.rmtree(entry)

    def all(self) -> list[Checkpoint]:
        """Those that are there, oldest first."""
        found = [
            Checkpoint(entry, int(name[1]))
            for entry in self._entries()
            if (name := _NAME.fullmatch(entry.name))
        ]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest(self) -> Checkpoint | None:
        """The newest, checked; None if there is none.

        Raises:
            CheckpointError: if it is damaged, naming the file, and the newest that is not. Nothing
                falls back on that by itself: training would be repeated unnoticed.
        """
        found = self.all()
        if not found:
            return None
        try:
            found[-1].check()
        except CheckpointError as error:
            intact = _newest_intact(found[:-1])
            remedy = (
                "no other one is intact"
                if intact is None
                else f"{intact.folder.name} is intact: to resume from it, remove the damaged folder"
            )
            raise CheckpointError(f"{error}. The checkpoint is damaged; {remedy}") from error
        return found[-1]

    def save(
        self,
        step: int,
        model: Any,
        tokenizer: Any,
        optimizer: torch.optim.Optimizer,
        state: Mapping[str, Any],
    ) -> Checkpoint:
        """Writes one, and then removes the oldest.

        Args:
            step: steps made.
            model: transformers' or peft's.
            tokenizer: saved beside it.
            optimizer: its state.
            state: anything else that the run needs, as JSON has it.

        Raises:
            CheckpointError: if it can not be written. What was there before is still there.
        """
        place = self.folder / f"step-{step:06d}"
        draft = place.with_name(place.name + _WRITING)
        try:
            draft.mkdir(parents=True)
            with _held(draft):
                with without_bars():
                    _save_model(model, draft)
                tokenizer.save_pretrained(draft)
                with (draft / OPTIMIZER).open("wb") as file:
                    torch.save(optimizer.state_dict(), file)
                _write_json(draft / STATE, {"step": step, "run": dict(state)})
                _write_json(draft / MANIFEST, _manifest(draft))
                _to_disk(draft)
                _put(draft, place)
        except _WRITE_ERRORS as error:
            intact = _newest_intact(self.all())
            left = f"{intact.folder} is intact" if intact else "there is none before it"
            raise CheckpointError(
                f"{place}: the checkpoint can not be written: {_reason(error)}; {left}"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # not there if all went well
        for old in self.all()[: -self.keep]:
            _remove(old.folder)
        return Checkpoint(place, step)

    def clear(self) -> None:
        """Removes all of them."""
        for old in self.all():
            _remove(old.folder)

    def _entries(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from [entry for entry in self.folder.iterdir() if entry.is_dir()]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keeps other processes from clearing a folder away."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CheckpointError(
            f"{folder}: expected the run to have stopped, but another process is writing to it"
        ) from None
    finally:
        os.close(handle)


def _reason(error: BaseException) -> BaseException:
    """What the system said, behind what torch made of it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__context__
    return found or error


def _newest_intact(found: list[Checkpoint]) -> Checkpoint | None:
    for checkpoint in reversed(found):
        try:
            checkpoint.check()
        except CheckpointError:
            continue
        return checkpoint
    return None


def _save_model(model: Any, folder: Path) -> None:
    if _has_adapters(model):
        # Or peft asks the hub, each time, whether the base model's vocabulary has grown.
        model.save_pretrained(folder, save_embedding_layers=False)
    else:
        model.save_pretrained(folder)


def _has_adapters(model: Any) -> bool:
    return hasattr(model, "peft_config")


def _load_parameters(folder: Path, model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    if _has_adapters(model):
        from peft import set_peft_model_state_dict

        result = set_peft_model_state_dict(model, dict(tensors))
        missing = [name for name in result.missing_keys if ".lora_" in name]
    else:
        try:
            result = model.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            shapes = " ".join(str(error).split())
            raise CheckpointError(
                f"{folder}: expected the parameters of the model that is trained: {shapes:.300}"
            ) from error
        # Tied parameters are stored once.
        own = model.state_dict()
        there = {own[name].data_ptr() for name in tensors if name in own}
        missing = [name for name in result.missing_keys if own[name].data_ptr() not in there]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"{folder}: expected the parameters of the model that is trained, got others: missing "
            f"{missing[:3]}, unknown {result.unexpected_keys[:3]}"
        )


def _manifest(folder: Path) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        "format": FORMAT,
        "icpo": __version__,
        "torch": str(torch.__version__),
        "files": {
            str(file.relative_to(folder)): (file.stat().st_size, _digest(file)) for file in files
        },
    }


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _write_json(file: Path, value: Any) -> None:
    # A setting may be infinite: Python writes and reads that.
    file.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _to_disk(folder: Path) -> None:
    """Waits until everything below a folder would survive a loss of power."""
    for entry in [*folder.rglob("*"), folder]:
        _flush(entry)


def _flush(entry: Path) -> None:
    handle = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(draft: Path, place: Path) -> None:
    """Gives a finished checkpoint its name, in place of one that may be there."""
    aside = place.with_name(place.name + _REPLACED)
    if place.exists():
        place.rename(aside)
    draft.rename(place)
    _flush(place.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _remove(folder: Path) -> None:
    """Under another name first: half a checkpoint should not look like one."""
    aside = folder.with_name(folder.name + _REMOVED)
    folder.rename(aside)
    shutil.rmtree(aside)
