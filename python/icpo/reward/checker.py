"""The checker, and what it says."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo import _core
from icpo.errors import ConfigError, DTypeError, ShapeError
from icpo.objective.memory import view

__all__ = ["Checker", "Verdict", "score", "verify"]


@dataclass(frozen=True)
class Verdict:
    """What a check says. It is true, as a condition, if the answers are equal."""

    #: ``equal``, ``not_equal``, or ``unknown`` if it could not be told.
    outcome: str
    #: Why it could not be told; None if it could.
    #:
    #: - ``gold``, ``response``: no answer could be read there. ``gold`` also stands for a gold
    #:   answer in prose that the response does not repeat.
    #: - ``syntax``: what was found there can not be read.
    #: - ``budget``: the setting ``work`` was used up.
    #: - ``too_large``: nested deeper than comparison follows.
    #: - ``undecided``: nothing proves or refutes it.
    #: - ``undefined``: one has no value, such as 1/0.
    reason: str | None
    #: The rule that decided: ``identical``, ``exact``, ``decimal``, ``finite_set``, ``relation``
    #: and so on.
    rule: str
    #: The text that the response's answer was read from; None if there is none.
    extracted: str | None
    #: The gold answer as it was read, in sympy's notation; None if it could not be.
    gold: str | None
    #: The response's answer likewise.
    pred: str | None

    @property
    def equal(self) -> bool:
        """Whether the answers are equal; only this earns a reward."""
        return self.outcome == "equal"

    def __bool__(self) -> bool:
        """Whether the answers are equal."""
        return self.equal


class Checker:
    """Decides whether responses give the gold answer, by the conventions of a profile.

    ``strict`` accepts only what a response presents as its answer and what is true;
    ``math_verify`` gives Math-Verify's verdicts. Keyword arguments change single conventions;
    `settings` lists them, docs/checker.md explains them. A checker never changes: threads may
    share it, and it can be pickled, compared, and used as a key.

    A gold answer is an answer, not a solution: LaTeX with or without ``$``, a number, or words. A
    response is text of any length.

    >>> checker = Checker("math_verify", float_rounding=3)
    >>> checker.verify(r"\\frac{1}{3}", r"The answer is \\boxed{0.333}.")
    True
    >>> Checker().check("42", "I can not tell.").equal
    False

    Raises:
        ConfigError: if there is no such profile or setting, or it does not have such values.
    """

    __slots__ = ("_changes", "_core", "_profile", "_settings")

    def __init__(self, profile: str = "strict", **flags: Any) -> None:
        """See the class."""
        if profile not in _core.PROFILES:
            expected = " or ".join(repr(known) for known in _core.PROFILES)
            raise ConfigError(f"profile: expected {expected}, got {profile!r}")
        defaults = _core.checker_defaults(profile)
        for name, value in flags.items():
            _check_flag(name, value, defaults)
        self._profile = profile
        self._changes = {
            name: flags[name]
            for name in defaults
            if flags.get(name, defaults[name]) != defaults[name]
        }
        self._settings = MappingProxyType({**defaults, **self._changes})
        self._core = _core.Checker({"profile": profile, **self._changes})

    @property
    def profile(self) -> str:
        """The name of the profile."""
        return self._profile

    @property
    def settings(self) -> MappingProxyType[str, Any]:
        """Every convention and its value."""
        return self._settings

    def verify(self, gold: str | Sequence[str], pred: str) -> bool:
        """Whether a response gives the gold answer, or one of several."""
        return self.check(gold, pred).equal

    def check(self, gold: str | Sequence[str], pred: str) -> Verdict:
        """As `verify`, with the reason and what was read.

        With several gold answers the verdict is that of the first that is equal; if none is, of
        the first that is unknown; else of the first.
        """
        if isinstance(gold, str) and isinstance(pred, str):
            return Verdict(*self._core.check(gold, pred))
        golds = _golds_of("gold", gold)
        _check_text("pred", pred)
        verdicts = [Verdict(*self._core.check(text, pred)) for text in golds]
        for outcome in ("equal", "unknown"):
            for verdict in verdicts:
                if verdict.outcome == outcome:
                    return verdict
        return verdicts[0]

    def score(
        self,
        responses: Iterable[str],  # (B,)
        golds: str | Iterable[str | Sequence[str]],  # (B,)
        *,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """1 for each response that gives its gold answer, 0 for the others. Shape (B,).

        `golds` has an answer for each response, or several of which any will do; one string stands
        for the answer to all. Equal gold answers are read once. What could not be told scores 0.
        The work is shared by at most `threads` of the package's threads (None: all; see
        ``icpo.set_num_threads``), and the result does not depend on how many.

        Raises:
            ShapeError: if there are not as many golds as responses, or none for one of them.
            DTypeError: if something is no text.
        """
        responses, golds = _batch(responses, golds)
        scores = np.zeros(len(responses), dtype=np.float32)
        _check_threads(threads)
        try:
            self._core.score(responses, golds, threads=threads, out=view(scores))
        except TypeError:
            _check_batch(responses, golds)
            raise
        return scores

    def check_many(
        self,
        responses: Iterable[str],
        golds: str | Iterable[str | Sequence[str]],
        *,
        threads: int | None = None,
    ) -> list[Verdict]:
        """As `score`, with a verdict for each response."""
        responses, golds = _batch(responses, golds)
        _check_threads(threads)
        try:
            verdicts = self._core.check_many(responses, golds, threads=threads)
        except TypeError:
            _check_batch(responses, golds)
            raise
        return [Verdict(*verdict) for verdict in verdicts]

    def extract(self, text: str) -> str | None:
        """The text that a response's answer is read from, or None if it has no answer."""
        _check_text("text", text)
        return self._core.parse(text)[1]

    def parse(self, text: str) -> list[_core.ParsedAnswer | str]:
        """What a response's answer is read as, best reading first; empty if there is none.

        The last reading is the extracted text, which is compared with that of the gold answer.
        """
        _check_text("text", text)
        return self._core.parse(text)[0]

    def equivalent(self, a: str, b: str) -> bool:
        """Whether two answers are the same, whichever is the gold one.

        Either may be a response, or a bare answer.
        """
        _check_text("a", a)
        _check_text("b", b)
        return self._core.equivalent(a, b)[0] == "equal"

    def cluster(self, answers: Iterable[str]) -> list[int]:
        """Groups equal answers, for voting: the number of each answer's group.

        Groups are numbered by first appearance; -1 stands for no answer. An answer joins the first
        group whose first member it is equivalent to.
        """
        texts = _listed("answers", answers)
        try:
            return self._core.cluster(texts)
        except TypeError:
            for index, text in enumerate(texts):
                _check_text(f"answers[{index}]", text)
            raise

    def __repr__(self) -> str:
        """As it would be constructed."""
        changes = "".join(f", {name}={value!r}" for name, value in self._changes.items())
        return f"Checker({self._profile!r}{changes})"

    def __eq__(self, other: object) -> bool:
        """Whether the settings are the same."""
        if not isinstance(other, Checker):
            return NotImplemented
        return self._profile == other._profile and self._changes == other._changes

    def __hash__(self) -> int:
        """Follows equality."""
        return hash((self._profile, *self._changes.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the settings."""
        return _rebuild, (self._profile, self._changes)


def _rebuild(profile: str, changes: dict[str, Any]) -> Checker:
    return Checker(profile, **changes)


@functools.lru_cache(maxsize=64)
def _checker(profile: str, flags: tuple[tuple[str, Any], ...]) -> Checker:
    return Checker(profile, **dict(flags))


def verify(gold: str | Sequence[str], pred: str, *, profile: str = "strict", **flags: Any) -> bool:
    """Whether a response gives the gold answer, or one of several. Settings are those of `Checker`.

    >>> verify("42", r"So the answer is \\boxed{42}.")
    True
    """
    return _cached(profile, flags).verify(gold, pred)


def score(
    responses: Iterable[str],
    golds: str | Iterable[str | Sequence[str]],
    *,
    threads: int | None = None,
    profile: str = "strict",
    **flags: Any,
) -> NDArray[np.float32]:
    """1 for each response that gives its gold answer, 0 for the others. See `Checker.score`.

    >>> score([r"\\boxed{0.5}", "7"], [r"\\frac{1}{2}", "8"])
    array([1., 0.], dtype=float32)
    """
    return _cached(profile, flags).score(responses, golds, threads=threads)


def _cached(profile: str, flags: dict[str, Any]) -> Checker:
    try:
        return _checker(profile, tuple(sorted(flags.items())))
    except TypeError:  # a value that is not hashable, which is an error of its own
        return Checker(profile, **flags)


def _check_flag(name: str, value: Any, defaults: dict[str, Any]) -> None:
    if name not in defaults:
        known = ", ".join(defaults)
        raise ConfigError(f"{name}: expected one of {known} and profile, got {name}={value!r}")
    if isinstance(defaults[name], bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: expected True or False, got {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise ConfigError(f"{name}: expected an integer from 0 to 2**32 - 1, got {value!r}")


def _check_text(argument: str, value: Any) -> None:
    if not isinstance(value, str):
        raise DTypeError(f"{argument}: expected str, got {type(value).__name__}")


def _check_threads(threads: Any) -> None:
    if threads is None or (isinstance(threads, int) and threads is not True and threads > 0):
        return
    raise ConfigError(f"threads: expected None or an integer > 0, got {threads!r}")


def _listed(argument: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DTypeError(f"{argument}: expected a sequence of str, got {type(values).__name__}")
    return values if isinstance(values, list) else list(values)


def _golds_of(argument: str, gold: Any) -> list[Any]:
    if isinstance(gold, str):
        return [gold]
    golds = _listed(argument, gold)
    if not golds:
        raise ShapeError(f"{argument}: expected at least one gold answer, got none")
    for index, text in enumerate(golds):
        _check_text(f"{argument}[{index}]", text)
    return golds


def _batch(responses: Any, golds: Any) -> tuple[list[str], list[list[str]]]:
    responses = _listed("responses", responses)
    if isinstance(golds, str):
        return responses, [[golds]] * len(responses)
    golds = _listed("golds", golds)
    if len(golds) != len(responses):
        raise ShapeError(
            f"golds: expected one for each of {len(responses)} responses, got {len(golds)}"
        )
    return responses, [
        [gold] if isinstance(gold, str) else _golds_of(f"golds[{index}]", gold)
        for index, gold in enumerate(golds)
    ]


def _check_batch(responses: list[Any], golds: list[list[Any]]) -> None:
    """Says what is wrong in a batch that the core has refused."""
    for index, text in enumerate(responses):
        _check_text(f"responses[{index}]", text)
    for index, texts in enumerate(golds):
        for text in texts:
            _check_text(f"golds[{index}]", text)
