"""`make kernels`, with a compiler that is none."""

from __future__ import annotations

import sys
from pathlib import Path

import kernels
import pytest

from icpo import _core

CLEAN = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nUsed 40 registers\n"
SPILLS = "0 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads\nUsed 128 registers\n"


@pytest.fixture(scope="module")
def units() -> list[kernels.Unit]:
    return list(kernels.units(kernels.TARGETS))


def nvcc(folder: Path, log: str, status: int = 0) -> Path:
    """Prints a log and writes its arguments and the source as the image."""
    program = folder / "nvcc"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from pathlib import Path\n"
        f"print({log!r})\n"
        "image = Path(sys.argv[sys.argv.index('-o') + 1])\n"
        "image.write_text(' '.join(sys.argv[1:-1]) + Path(sys.argv[-1]).read_text())\n"
        f"sys.exit({status})\n"
    )
    program.chmod(0o755)
    return program


def test_each_image_once_for_every_target(units: list[kernels.Unit]) -> None:
    names = [unit.file_name for unit in units]
    assert len(names) == len(set(names))
    for target in kernels.TARGETS:
        mains = {unit.main for unit in units if unit.target == target}
        assert ("fused.cu" in mains) == (target != "sm_80")
        assert {"logp_entropy.cu", "policy_loss.cu", "advantage.cu", "scale.cu"} <= mains


def test_images_are_sealed_under_the_names_that_the_package_looks_for(
    units: list[kernels.Unit], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    unit = next(unit for unit in units if unit.main == "fused.cu")
    made = kernels.compiled(nvcc(tmp_path, CLEAN), unit, images)
    (image,) = images.iterdir()
    assert image.name == unit.file_name and made.registers == 40 and not made.spills
    written = image.read_bytes()
    # What nvcc made comes first; it got the macros, and every header beside the source.
    text = unit.sources["fused.cu"].encode()
    content = written[: written.index(text) + len(text)]
    assert written == _core.cuda_seal(content, kernels.TOOLKIT)
    assert all(option.encode() in content for option in unit.options if option.startswith("-D"))
    assert b"-default-device" not in content and f"sm_{unit.target[3:]}".encode() in content


def test_a_kernel_that_spills_is_not_written(units: list[kernels.Unit], tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    made = kernels.compiled(nvcc(tmp_path, CLEAN + SPILLS), units[0], images)
    assert made.spills and made.registers == 128
    assert list(images.iterdir()) == []
    assert "not written" in kernels.table([made])


def test_what_nvcc_says_is_shown(units: list[kernels.Unit], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="identifier is undefined"):
        kernels.compiled(nvcc(tmp_path, "identifier is undefined", 2), units[0], tmp_path)


def test_images_of_other_sources_are_deleted(units: list[kernels.Unit], tmp_path: Path) -> None:
    current, old = tmp_path / units[0].file_name, tmp_path / "fused-0123456789abcdef.sm_90.cubin"
    for image in (current, old):
        image.touch()
    kernels.delete_stale(tmp_path)
    assert current.exists() and not old.exists()
