"""A text engine that answers as a function of prompt and seed, for whole evaluations."""

from __future__ import annotations

import hashlib
import re

from icpo.generation.text import EngineError, TextCompletion


class ScriptedText:
    """Answers a few requests at once; stops with an error after so many, if told to."""

    def __init__(self, answer, *, together=1, fails_after=None, positions=None):
        self.answer, self.together = answer, together
        self.left = fails_after
        self.positions = positions
        self.asked = []

    def complete(self, requests, done=None):
        found = []
        # Backwards within a group: nobody may rely on an order.
        for start in range(0, len(requests), self.together):
            group = list(enumerate(requests))[start : start + self.together]
            # As rounding does: what is computed together leaves its mark on each answer.
            mark = sum(request.seed for _, request in group) % 1000 if self.together > 1 else 0
            for place, request in reversed(group):
                if self.left is not None:
                    if self.left == 0:
                        raise EngineError("the engine is gone")
                    self.left -= 1
                self.asked.append(request)
                text, finished = self.answer(request)
                found.append((place, TextCompletion(text, finished, len(text.split()), mark)))
                if done is not None:
                    done(*found[-1])
        return [answer for _, answer in sorted(found, key=lambda pair: pair[0])]

    def count(self, prompt):
        return len(prompt.split()) if isinstance(prompt, str) else None

    def describe(self):
        about = {"engine": "scripted", "model": "scripted"}
        return about if self.positions is None else {**about, "positions": self.positions}


def hashed(request) -> int:
    """A number that follows from prompt and seed."""
    text = f"{request.prompt} {request.seed}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def sums(request):
    """Adds the last two numbers of the question: rightly, wrongly, not at all, or without end."""
    a, b = map(int, re.findall(r"\d+", request.prompt)[-2:])
    luck = hashed(request) % 10
    if luck < 5:
        return rf"So \boxed{{{a + b}}}.", True
    if luck < 8:
        return rf"Perhaps \boxed{{{a + b + luck - 4}}}?", True
    return ("I give up.", True) if luck == 8 else ("Let me think of", False)
