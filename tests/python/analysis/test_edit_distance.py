"""Edit distances against the recurrence, written down as it is defined."""

from __future__ import annotations

import itertools
import signal
import threading
from functools import cache

import numpy as np
import pytest

import icpo
from icpo import DTypeError, ShapeError
from icpo.analysis.edit_distance import (
    edit_distance,
    edit_distances,
    edit_distances_between,
)

HUGE = np.iinfo(np.int64).max


def naive(a, b) -> int:
    """Cell by cell, as dictionaries of Python's own integers."""
    a, b = [int(token) for token in a], [int(token) for token in b]
    cells = {(0, j): j for j in range(len(b) + 1)} | {(i, 0): i for i in range(len(a) + 1)}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        cells[i, j] = min(
            cells[i - 1, j] + 1,
            cells[i, j - 1] + 1,
            cells[i - 1, j - 1] + (a[i - 1] != b[j - 1]),
        )
    return cells[len(a), len(b)]


def sequences(seed: int, lengths, alphabet) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.choice(np.asarray(alphabet), size=length) for length in lengths]


CASES = {
    "ends of words": sequences(0, [0, 1, 63, 64, 65, 128, 129, 0, 2], [1, 2, 3]),
    "ends of strips": sequences(1, [255, 256, 257, 3, 100], [0, 7]),
    "negative and huge": sequences(2, [40, 50, 64, 65], [-1, -HUGE - 1, HUGE, 0, 5]),
    "all different": [np.arange(k, k + 70) for k in range(0, 90, 30)],
    "equal": [np.arange(130)] * 3,
    "one": [np.arange(3)],
    "none": [],
    "small integers": [array.astype(np.uint8) for array in sequences(3, [9, 70], range(200))],
}


@pytest.mark.parametrize("name", CASES)
def test_all_pairs_are_those_of_the_recurrence(name):
    case = CASES[name]
    expected = [naive(a, b) for a, b in itertools.combinations(case, 2)]
    assert edit_distances(case).tolist() == expected
    assert all(edit_distance(a, a) == 0 for a in case)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 5), (5, 1), (3, 3), (0, 2), (2, 0)])
def test_two_sets_row_by_row(ours, theirs):
    left = sequences(4, [0, 64, 90, 11, 65][:ours], range(4))
    right = sequences(5, [63, 0, 130, 64, 7][:theirs], range(4))
    found = edit_distances_between(left, right)
    assert found.shape == (ours, theirs)
    assert found.tolist() == [[naive(a, b) for b in right] for a in left]


def test_long_sequences_agree_with_rapidfuzz():
    peer = pytest.importorskip("rapidfuzz.distance", reason="compares with rapidfuzz").Levenshtein
    case = sequences(8, [3000, 2999, 1, 1500, 2048, 0, 2049], range(60))
    expected = [peer.distance(a.tolist(), b.tolist()) for a, b in itertools.combinations(case, 2)]
    assert edit_distances(case).tolist() == expected


def test_it_is_a_metric():
    """Symmetric, 0 only for equals, and the triangle inequality."""
    case = sequences(6, [0, 5, 9, 30, 31, 64, 70, 70], range(3))
    apart = edit_distances_between(case, case)
    assert (apart == apart.T).all() and (np.diag(apart) == 0).all()
    assert ((apart > 0) | np.eye(len(case), dtype=bool)).all()
    assert (apart[:, None, :] <= apart[:, :, None] + apart[None, :, :]).all()


def test_lists_do_as_well_as_arrays():
    assert edit_distances([[1, 2], (2,), [], np.array([1, 2], np.int32)]).tolist() == [
        1,
        2,
        0,
        1,
        1,
        2,
    ]


@pytest.fixture
def one_thread():
    before = icpo.num_threads()
    icpo.set_num_threads(1)
    yield
    icpo.set_num_threads(before)


@cache
def long_work() -> list[np.ndarray]:
    """Some seconds of it, for one thread."""
    return sequences(7, [9000] * 160, range(50))


def test_progress_is_told_and_may_stop_the_work(one_thread):
    told = []

    def progress(done: int, parts: int) -> None:
        told.append((done, parts))
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        edit_distances(long_work(), progress)
    assert told[0][0] == 1 and told[0][1] > 1


def test_the_interrupt_key_works(one_thread):
    main = threading.main_thread()
    assert threading.current_thread() is main
    # Whoever runs the tests in the background may have them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer = threading.Timer(0.2, lambda: signal.pthread_kill(main.ident, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            edit_distances(long_work())
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_no_sequence_of_tokens_is_named():
    with pytest.raises(DTypeError, match=r"sequences\[1\]: expected integers, got dtype float64"):
        edit_distances([[1], [0.5]])
    with pytest.raises(ShapeError, match=r"sequences\[0\]: expected tokens in a row, got shape"):
        edit_distances([[[1, 2]]])
    with pytest.raises(DTypeError, match="numbers that fit int64"):
        edit_distances([np.array([2**63], np.uint64)])
