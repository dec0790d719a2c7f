"""The checker's interface: arguments, results, errors, and use from anywhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import icpo
from icpo.reward import Checker, Verdict, score, verify

RESPONSES = [f"after some thought, \\boxed{{{i % 10}}}" for i in range(500)]
GOLDS = [str(i % 7) for i in range(500)]
EXPECTED = [float(i % 10 == i % 7) for i in range(500)]

#: Answers of many kinds, each as the gold of all, so that every stage has work to do.
KINDS = [
    *("0.5", r"\frac{1}{2}", r"50\%", r"\sqrt{8}", r"2\sqrt2", r"\sin^2 x + \cos^2 x", "1", "C"),
    *(
        r"x^2+2x+1",
        r"(x+1)^2",
        r"\{1,2\}",
        "(1,2)",
        "[1,2)",
        r"1 \le x < 2",
        "y = 2x",
        "2x - y = 0",
    ),
    *(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\text{no solution}", r"\emptyset", "x^{", "3i"),
    *(
        r"\sum_{k=1}^{30} \frac{1}{k^2}",
        r"e^{\pi}",
        r"\frac{10^{400}+1}{7}",
        r"\lfloor 7.5 \rfloor",
    ),
]
PAIRS = [(gold, rf"Let us see: it is $\boxed{{{answer}}}$.") for gold in KINDS for answer in KINDS]


@pytest.fixture(params=["strict", "math_verify"])
def checker(request):
    return Checker(request.param)


def test_a_verdict_says_what_was_compared(checker):
    verdict = checker.check("42", r"Thus it is \boxed{42}.")
    assert verdict.equal and verdict and verdict.outcome == "equal" and verdict.reason is None
    assert (verdict.extracted, verdict.gold, verdict.pred) == ("42", "42", "42")
    assert isinstance(verdict.rule, str)
    other = checker.check("42", r"Thus it is \boxed{41}.")
    assert not other and other.outcome == "not_equal"
    with pytest.raises(AttributeError):
        verdict.outcome = "equal"


def test_wrong_and_could_not_tell_differ(checker):
    verdict = checker.check("42", "")
    assert (verdict.outcome, verdict.reason, verdict.extracted) == ("unknown", "response", None)
    assert not verdict
    assert checker.check("", r"\boxed{42}").reason == "gold"


def test_several_golds(checker):
    assert checker.verify(["1", "2"], r"\boxed{2}")
    assert not checker.verify(["1", "3"], r"\boxed{2}")
    assert checker.check(["", "3"], r"\boxed{2}").reason == "gold"
    assert checker.check(["", "2"], r"\boxed{2}").equal


def test_scores(checker):
    scores = checker.score(RESPONSES, GOLDS)
    assert scores.dtype == np.float32 and scores.shape == (500,)
    assert scores.tolist() == EXPECTED
    for threads in (1, 2, 3, 1000):
        assert np.array_equal(checker.score(RESPONSES, GOLDS, threads=threads), scores)
    assert [v.equal for v in checker.check_many(RESPONSES, GOLDS, threads=2)] == list(
        map(bool, EXPECTED)
    )


def test_shapes_of_a_batch(checker):
    two = [r"\boxed{1}", r"\boxed{2}"]
    assert checker.score([], []).shape == (0,)
    assert checker.score(two, "2").tolist() == [0, 1]
    assert checker.score(two, [["1", "2"], "1"]).tolist() == [1, 0]
    assert checker.score(tuple(two), (golds for golds in (("1",), ("1", "2")))).tolist() == [1, 1]
    assert checker.score(np.array(two), np.array(["1", "2"])).tolist() == [1, 1]
    assert checker.score(np.array(two, object), np.array(["1", "2"], object)).tolist() == [1, 1]
    many = checker.check_many(two, [["3", "2"], ["3", "2"]])
    assert [verdict.outcome for verdict in many] == ["not_equal", "equal"]


@pytest.mark.parametrize(
    "junk", ["\ud800", "\udfff\\boxed{\ud801}", "\x00", "\\boxed{" * 3000, "", "𝟜" * 100, "$" * 99]
)
def test_no_text_raises(checker, junk):
    assert not checker.verify("42", junk)
    assert not checker.verify(junk, r"\boxed{42}")
    assert checker.score([junk, r"\boxed{42}"], "42").tolist() == [0, 1]
    checker.extract(junk)
    checker.equivalent(junk, junk)
    checker.cluster([junk, junk])
    for reading in checker.parse(junk):
        str(reading)


def test_extract_equivalent_cluster(checker):
    assert checker.extract(r"so \boxed{7}") == "7"
    assert checker.extract("") is None
    assert checker.equivalent("7", r"so \boxed{7}") and checker.equivalent(r"so \boxed{7}", "7")
    assert not checker.equivalent("7", "8")
    assert checker.cluster(["7", "8", r"\boxed{7}", "", "8", ""]) == [0, 1, 0, -1, 1, -1]
    assert checker.cluster([]) == []


def test_plain_functions():
    assert verify("42", r"\boxed{42}") and not verify("42", r"\boxed{41}", profile="math_verify")
    assert score([r"\boxed{1}"], ["1"], float_rounding=3, threads=1).tolist() == [1]
    with pytest.raises(icpo.ConfigError, match="foo: expected one of"):
        verify("1", "1", foo=[])


def test_settings_make_identity():
    base, same = Checker(), Checker("strict", float_rounding=6)
    other = Checker(float_rounding=3, strict_variables=False)
    assert (
        base == same
        and hash(base) == hash(same)
        and base != other
        and base != Checker("math_verify")
    )
    assert repr(other) == "Checker('strict', float_rounding=3, strict_variables=False)"
    assert eval(repr(other)) == other
    assert other.profile == "strict" and other.settings["float_rounding"] == 3
    assert pickle.loads(pickle.dumps(other)) == other
    assert {base: 1}[same] == 1 and base != "strict"
    with pytest.raises(TypeError):
        other.settings["float_rounding"] = 4
    with pytest.raises(AttributeError):
        other.profile = "math_verify"


MISTAKES = {
    "profile": (
        lambda: Checker("exact"),
        icpo.ConfigError,
        "profile: expected 'strict' or .*'exact'",
    ),
    "setting": (lambda: Checker(rounding=1), icpo.ConfigError, "rounding: expected one of float_r"),
    "number": (
        lambda: Checker(float_rounding=-1),
        icpo.ConfigError,
        "float_rounding: expected an integer from 0 .*got -1",
    ),
    "no number": (lambda: Checker(work=1.5), icpo.ConfigError, "work: expected an integer.*1.5"),
    "flag": (
        lambda: Checker(strict_variables=1),
        icpo.ConfigError,
        "strict_variables: expected True or False, got 1",
    ),
    "lengths": (
        lambda: score(["a", "b"], ["c"]),
        icpo.ShapeError,
        "golds: expected one for each of 2 responses, got 1",
    ),
    "no gold": (lambda: score(["a"], [[]]), icpo.ShapeError, r"golds\[0\]: expected at least one"),
    "one text": (lambda: score("a", "b"), icpo.DTypeError, "responses: expected a sequence.*str"),
    "bytes": (lambda: score(b"a", "b"), icpo.DTypeError, "responses: expected a sequence.*bytes"),
    "response": (
        lambda: score(["a", None], "b"),
        icpo.DTypeError,
        r"responses\[1\]: expected str, got NoneType",
    ),
    "gold": (lambda: score(["a"], [3]), icpo.DTypeError, r"golds\[0\]: expected .*got int"),
    "gold in list": (
        lambda: score(["a"], [["b", 3]]),
        icpo.DTypeError,
        r"golds\[0\]\[1\]: expected str, got int",
    ),
    "check": (lambda: verify("a", 3), icpo.DTypeError, "pred: expected str, got int"),
    "check gold": (lambda: verify(None, "a"), icpo.DTypeError, "gold: expected .*got NoneType"),
    "extract": (lambda: Checker().extract(1), icpo.DTypeError, "text: expected str, got int"),
    "equivalent": (lambda: Checker().equivalent("a", 1), icpo.DTypeError, "b: expected str"),
    "cluster": (
        lambda: Checker().cluster(["a", 1]),
        icpo.DTypeError,
        r"answers\[1\]: expected str, got int",
    ),
    "threads": (
        lambda: score(["a"], "a", threads=0),
        icpo.ConfigError,
        "threads: expected None or an integer > 0, got 0",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    call, expected, message = MISTAKES[mistake]
    with pytest.raises(expected, match=message) as caught:
        call()
    assert isinstance(caught.value, icpo.IcpoError)


##### From anywhere


def digest() -> str:
    """Everything that checkers say of the pairs, verdicts and readings included."""
    golds, responses = (list(texts) for texts in zip(*PAIRS, strict=True))
    said: list[object] = []
    for profile in ("strict", "math_verify"):
        checker = Checker(profile)
        readings = [checker.parse(text) for text in responses]
        hashes = [hash(item) for found in readings for item in found if not isinstance(item, str)]
        said += [readings, hashes, checker.cluster(responses[: len(KINDS)])]
        said.append(checker.score(responses, golds).tolist())
        said.append(checker.check_many(responses, golds))
    return hashlib.sha256(repr(said).encode()).hexdigest()


def test_one_by_one_or_together_on_any_number_of_threads(checker):
    golds, responses = (list(texts) for texts in zip(*PAIRS, strict=True))
    verdicts = [checker.check(gold, response) for gold, response in PAIRS]
    scores = [float(verdict.equal) for verdict in verdicts]
    for threads in (None, 1, 2, 3, 16):
        assert checker.check_many(responses, golds, threads=threads) == verdicts
        assert checker.score(responses, golds, threads=threads).tolist() == scores


def test_threads_agree(checker):
    expected = [checker.check(*pair) for pair in PAIRS]
    results: list[bool] = []

    def work(first):
        # Each begins elsewhere, so that different work is done at once.
        order = [*range(first, len(PAIRS)), *range(first)]
        found = {index: checker.check(*PAIRS[index]) for index in order}
        results.append([found[index] for index in range(len(PAIRS))] == expected)
        results.append(checker.score(RESPONSES, GOLDS).tolist() == EXPECTED)

    threads = [threading.Thread(target=work, args=(37 * k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 32


def test_asyncio():
    async def main():
        checker = Checker()
        jobs = [asyncio.to_thread(checker.score, RESPONSES, GOLDS) for _ in range(8)]
        return await asyncio.gather(*jobs)

    assert all(scores.tolist() == EXPECTED for scores in asyncio.run(main()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    expected = digest()  # the parent's threads are running now
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, digest().encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert result == expected


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_processes(method):
    expected = digest()  # which starts this process's threads, before a fork
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        verdict = pool.submit(Checker("math_verify").check, "4", r"\boxed{4}").result()
        assert isinstance(verdict, Verdict) and verdict.equal
        assert [job.result() for job in [pool.submit(digest) for _ in range(2)]] == [expected] * 2


def test_hash_seed_and_threads_do_not_matter():
    code = """if True:
        import sys; sys.path.insert(0, sys.argv[1])
        import test_checker; print(test_checker.digest())
    """
    digests = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": str(1 + int(seed) % 3)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert digests == {digest() + "\n"}


def test_importing_stays_light():
    code = (
        "import icpo, icpo.reward, icpo.math_verify, icpo.cli, icpo.reward.files\n"
        "import icpo.verl.reward, icpo.reward.trl, icpo.reward.lighteval, sys\n"
        "for module in (icpo.reward, icpo.math_verify, icpo.cli, icpo.reward.files,\n"
        "               icpo.verl.reward, icpo.reward.trl, icpo.reward.lighteval):\n"
        "    assert all(hasattr(module, name) for name in module.__all__), module\n"
        "from icpo.reward import Checker\n"
        "answer = Checker().parse('\\\\boxed{3}')[0]\n"
        "assert answer == answer and answer != 3.5 and str(answer) == '3', answer\n"
        "heavy = {'torch', 'sympy', 'verl', 'trl', 'lighteval', 'pyarrow', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
