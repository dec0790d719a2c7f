"""What this machine offers the operators, and why not more."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from icpo import _core, cuda

__all__ = ["ARCHITECTURES", "describe", "info"]

#: Of GPUs that there are kernels for.
ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")

#: Kernel images are these files.
_IMAGES = "*.cubin"

#: What src/objective/row.rs is compiled for, best first, with the flags that it takes.
_INSTRUCTION_SETS = {
    "AVX-512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "f16c"},
    "AVX2": {"avx2", "fma", "f16c"},
}


def info(vocab: int | None = None, dtype: object = "bfloat16") -> dict[str, Any]:
    """Threads, devices, driver, kernels, and whether the fast path takes a vocabulary.

    What is missing is None, and a ``reason`` stands beside it. Nothing is loaded or compiled, and
    torch is not imported.

    Args:
        vocab: the number of logits of a token. If given, ``fast_path`` tells for each device, and
            for each architecture that there are kernels for, how the kernel is cut that reads and
            writes each logit once, or why it does not take such rows; ``images`` where the kernels
            for them would come from.
        dtype: of the logits: ``bfloat16``, ``float16`` or ``float32``, or a `torch.dtype`.

    Raises:
        DTypeError, ConfigError: if there are no such logits.

    >>> info()["cpu"]["threads"] >= 1
    True
    """
    name = cuda.dtype_name(dtype)
    if vocab is not None:
        cuda.check_vocab(vocab)
    about: dict[str, Any] = {
        "version": _core.__version__,
        "cpu": {"threads": _core.num_threads(), "instruction_set": _instruction_set()},
    }
    if not cuda.is_built():
        return {**about, "cuda": None, "reason": cuda.NOT_BUILT}
    cuda.require()
    found = _core.cuda_info()
    image_dirs, cache = found.pop("image_dirs"), found.pop("cache_dir")
    found["nvrtc"] = {key: _plain(value) for key, value in found["nvrtc"].items()}
    found["image_dirs"] = [{"folder": str(d), "images": _count(d)} for d in image_dirs]
    found["cache"] = (
        None
        if cache is None
        else {"folder": str(cache), "images": _count(cache), "writable": _writable(Path(cache))}
    )
    if vocab is not None:
        for number, device in enumerate(found["devices"]):
            if "reason" not in device:
                device["fast_path"] = _core.cuda_plan(number, vocab, name)
        folders = [*image_dirs, *([] if cache is None else [cache])]
        about["vocabulary"] = {
            "vocab": vocab,
            "dtype": name,
            "architectures": {
                architecture: _architecture(architecture, vocab, name, folders)
                for architecture in ARCHITECTURES
            },
        }
    return {**about, "cuda": found}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _instruction_set() -> str:
    """What the loops over a vocabulary were compiled for that run here."""
    if platform.machine() in ("aarch64", "arm64"):
        return "NEON"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    flags = {
        flag for line in text.splitlines() if line.startswith("flags") for flag in line.split()
    }
    return next((name for name, needs in _INSTRUCTION_SETS.items() if needs <= flags), "baseline")


def _architecture(architecture: str, vocab: int, dtype: str, folders: list[Path]) -> dict[str, Any]:
    """Whether the fast path takes rows on GPUs of an architecture, and where its images lie."""
    images = {}
    for source, file, *_ in _core.cuda_units(architecture, vocab, dtype):
        holders = [str(folder) for folder in folders if (Path(folder) / file).is_file()]
        images[source] = {"file": file, "folder": holders[0] if holders else None}
    return {"fast_path": _core.cuda_plan(architecture, vocab, dtype), "images": images}


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob(_IMAGES))


def _writable(folder: Path) -> bool:
    """Whether files can be put there, in a folder that may not exist yet."""
    existing = next((f for f in (folder, *folder.parents) if f.exists()), folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def describe(about: dict[str, Any]) -> str:
    """What `info` found, in words."""
    cpu = about["cpu"]
    lines = [
        f"icpo-rs {about['version']}",
        f"CPU: {cpu['threads']} threads, {cpu['instruction_set']}",
    ]
    found = about["cuda"]
    if found is None:
        return "\n".join([*lines, f"CUDA: none: {about['reason']}"])
    lines += _driver(found)
    for number, device in enumerate(found["devices"]):
        lines += _device(number, device)
    lines += _sources(found)
    if "vocabulary" in about:
        lines += _vocabulary(about["vocabulary"])
    return "\n".join(lines)


def _driver(found: dict[str, Any]) -> list[str]:
    if found["driver"] is None:
        return [f"CUDA: none: {found['reason']}"]
    return [f"CUDA: driver for {_dotted(found['driver'])}, {len(found['devices'])} devices"]


def _device(number: int, device: dict[str, Any]) -> list[str]:
    if "reason" in device:
        return [f"  cuda:{number}: not usable: {device['reason']}"]
    kernels = device["architecture"] or "no kernels for this capability"
    lines = [
        f"  cuda:{number}: {device['name']}, compute capability {_dotted(device['capability'])}, "
        f"{device['multiprocessors']} multiprocessors, {device['memory'] / 2**30:.0f} GiB: "
        f"{kernels}"
    ]
    for name, unit in device["units"].items():
        lines.append(f"    loaded: {name}, {unit['origin']}")
        lines += [f"      passed over: {why}" for why in unit["passed_over"]]
    if "fast_path" in device:
        lines.append(f"    fast path: {_fast_path(device['fast_path'])}")
    return lines


def _sources(found: dict[str, Any]) -> list[str]:
    lines = ["Kernel images"]
    for place in found["image_dirs"]:
        lines.append(f"  with the package: {place['images']} in {place['folder']}")
    cache, nvrtc = found["cache"], found["nvrtc"]
    if cache is None:
        lines.append("  cache: none: there is no home folder, and ICPO_CACHE_DIR names none")
    else:
        usable = "writable" if cache["writable"] else "not writable: nothing is kept"
        lines.append(f"  cache: {cache['images']} in {cache['folder']} ({usable})")
    if "reason" in nvrtc:
        lines.append(f"  compiler: none: {nvrtc['reason']}")
    else:
        lines.append(f"  compiler: NVRTC {_dotted(nvrtc['version'])}, {nvrtc['file']}")
    return lines


def _vocabulary(asked: dict[str, Any]) -> list[str]:
    lines = [f"Vocabulary of {asked['vocab']}, {asked['dtype']}"]
    for name, architecture in asked["architectures"].items():
        lines.append(f"  {name}: fast path: {_fast_path(architecture['fast_path'])}")
        for image in architecture["images"].values():
            folder = image["folder"] or "compiled when first used"
            lines.append(f"    {image['file']}: {folder}")
    return lines


def _fast_path(plan: dict[str, int] | str) -> str:
    if isinstance(plan, str):
        return f"no: {plan}"
    return (
        f"yes: {plan['cluster']} blocks of {plan['threads']} threads hold a row, "
        f"{plan['held']} times 16 bytes a thread"
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
