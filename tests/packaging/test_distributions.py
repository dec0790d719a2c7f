"""What a user downloads is complete and works. `make wheel-test` builds it into dist/ first."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "scripts" / "smoke.py"
MAX_WHEEL_BYTES = 10 * 1024 * 1024


def only(pattern: str, folder: Path = ROOT / "dist") -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, f"expected one {pattern} in {folder}, found {found}"
    return found[0]


def sources(folder: str, *suffixes: str) -> set[str]:
    """Files of the checkout, relative to its root; `suffixes` skip what builds leave behind."""
    paths = (ROOT / folder).rglob("*")
    return {p.relative_to(ROOT).as_posix() for p in paths if p.suffix in suffixes}


@pytest.fixture(scope="module")
def wheel() -> Path:
    return only("*.whl")


@pytest.fixture(scope="module")
def sdist() -> Path:
    return only("*.tar.gz")


def smoke(wheel: Path, folder: Path) -> str:
    """Installs the wheel where Rust cannot be found, and runs the smoke script there."""
    venv.create(folder, with_pip=True)
    scripts = folder / "bin"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CARGO", "RUST", "PYTHON"))}
    env["PATH"] = str(scripts)
    python = str(scripts / "python")
    # Binaries only: an attempt to compile anything must fail here, not succeed by luck.
    install = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", str(wheel)]
    subprocess.run(install, env=env, cwd=folder, check=True)
    run = [python, "-I", str(SMOKE)]
    return subprocess.check_output(run, env=env, cwd=folder, text=True)


def test_wheel_tags(wheel: Path) -> None:
    assert re.match(r"icpo_rs-[^-]+-cp310-abi3-", wheel.name)
    if sys.platform == "linux":
        assert "manylinux_2_17" in wheel.name


def test_wheel_size(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_wheel_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {n for n in names if re.match(r"icpo_rs-[^/]+\.dist-info/", n)}
    assert any(n.endswith("/licenses/LICENSE") for n in info)
    suffixes = (".py", ".pyi", ".typed", ".yaml", ".css", ".cubin")
    python = {n.removeprefix("python/") for n in sources("python", *suffixes)}
    assert {"icpo/py.typed", "icpo/_core.pyi", "icpo/verl/config/icpo/on.yaml"} <= names
    assert "icpo/report/style.css" in names
    # Where Hydra looks for plugins.
    assert "hydra_plugins/icpo_searchpath/__init__.py" in names
    assert names - info == python | {"icpo/_core.abi3.so"}


@pytest.fixture
def prebuilt() -> Iterator[str]:
    """The name of an image that lies where `make kernels` puts them, while a test runs."""
    folder = ROOT / "python" / "icpo" / "kernels"
    image = folder / "test-0123456789abcdef.sm_90.cubin"
    was_there = folder.exists()
    folder.mkdir(exist_ok=True)
    image.write_bytes(b"an image")
    try:
        yield image.name
    finally:
        image.unlink()
        if not was_there:
            folder.rmdir()


def test_wheel_takes_prebuilt_kernels(wheel: Path, prebuilt: str, tmp_path: Path) -> None:
    """The extension is compiled already, by the same command in `make wheel`."""
    command = [sys.executable, "-m", "maturin", "build", "--release", "--out", str(tmp_path)]
    command += ["--zig"] if sys.platform == "linux" else []
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    env = os.environ | {"VIRTUAL_ENV": sys.prefix, "PATH": path}
    env.pop("CONDA_PREFIX", None)
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    with zipfile.ZipFile(only("*.whl", tmp_path)) as archive:
        assert f"icpo/kernels/{prebuilt}" in archive.namelist()
    assert only("*.whl", tmp_path).name == wheel.name


def test_sdist_contents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    needed = {"Cargo.toml", "Cargo.lock", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    needed |= sources("src", ".rs") | sources("kernels", ".cu", ".cuh")
    needed |= sources("python", ".py", ".pyi", ".typed", ".yaml")
    assert needed <= names, needed - names
    folders = "src|kernels|python/(icpo|hydra_plugins)|tests|benches"
    allowed = re.compile(rf"({folders})/|[A-Za-z-]+(\.(md|toml|lock))?$")
    built = re.compile(r"(^|/)(target|dist|__pycache__|\.venv[^/]*)/|\.(so|pyc|cubin)$")
    stray = {n for n in names if not allowed.match(n) or built.search(n)}
    assert not stray


def test_wheel_works_without_rust(wheel: Path, tmp_path: Path) -> None:
    assert "works" in smoke(wheel, tmp_path / "venv")


def test_sdist_builds_and_works(sdist: Path, tmp_path: Path) -> None:
    """Compiled the way a user's pip does: unpacked elsewhere, with its own copy of maturin."""
    # The dependencies are those that `make build` has compiled. The crate's own files are dropped
    # because pip unpacks to a new path every time, so they would pile up.
    target = ROOT / "target"
    clean = ["cargo", "clean", "--quiet", "--release", "-p", "icpo", "--target-dir", str(target)]
    subprocess.run(clean, cwd=ROOT, check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    env = os.environ | {"CARGO_TARGET_DIR": str(target)}
    subprocess.run([*pip, str(tmp_path), str(sdist)], env=env, cwd=tmp_path, check=True)
    assert "works" in smoke(only("*.whl", tmp_path), tmp_path / "venv")
