"""Figures can be told apart without colours, by everybody, and come out the same."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from icpo.analysis import style

#: What somebody sees who lacks the cones for red, for green or for blue: linear RGB to linear RGB
#: (Viénot, Brettel and Mollon 1999; for blue Machado, Oliveira and Fernandes 2009).
SEEN = {
    "red": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "green": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    "blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "nothing": np.eye(3),
}


def lab(colour: str, cones) -> np.ndarray:
    """CIELAB of what is seen."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(cones) @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
        / np.array([0.9505, 1.0, 1.089])
    )
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("lacking", SEEN)
def test_the_first_colours_differ_for_everybody(lacking):
    """By 12 units of CIELAB at least: about five times what side by side is just seen."""
    colours = [style.look(index).colour for index in range(5)]
    for one, other in itertools.combinations(colours, 2):
        apart = np.linalg.norm(lab(one, SEEN[lacking]) - lab(other, SEEN[lacking]))
        assert apart > 12, (one, other, apart)


def test_series_differ_without_any_colour():
    looks = [style.look(index) for index in range(49)]
    for start in range(0, 49, 7):
        assert len({(str(one.dash), one.marker) for one in looks[start : start + 7]}) == 7
    assert len({(one.colour, str(one.dash), one.marker) for one in looks}) == 49


def draw(folder):
    with style.sheet() as (figure, axes):
        for index in range(3):
            style.line(axes, index, range(30), np.arange(30) ** index, f"s{index}", error=[1] * 30)
        style.points(axes, 3, [1, 2], [3, 4], "points")
        style.steps(axes)
        style.shares(axes)
        style.legend(axes, figure)
        return style.save(figure, folder / "figure")


def test_the_same_figure_is_the_same_bytes(tmp_path):
    first, second = draw(tmp_path / "a"), draw(tmp_path / "b")
    assert [path.suffix for path in first] == [".png", ".svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"<svg" in first[1].read_bytes()


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.sheet():
        assert matplotlib.rcParams["axes.grid"] is True
    assert dict(matplotlib.rcParams) == before


def test_legends_are_below_and_cost_the_axes_no_height():
    heights = []
    for count in (1, 9):
        with style.sheet() as (figure, axes):
            for index in range(count):
                style.line(axes, index, [0, 1], [0, 1], "a rather long name of a condition")
            before = figure.get_figheight()
            style.legend(axes, figure)
            figure.draw_without_rendering()
            heights.append(axes.get_position().height * figure.get_figheight())
            assert figure.get_figheight() > before
    assert heights[1] == pytest.approx(heights[0], rel=0.06)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with (
        pytest.raises(ImportError, match=r"pip install icpo-rs\[plots\]"),
        style.sheet(),
    ):
        pass
