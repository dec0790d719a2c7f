"""Questions, searches that are answered by a function, and an engine that is one."""

from __future__ import annotations

import hashlib
import re

from icpo.evaluation.benchmarks import Question
from icpo.generation.text import TextCompletion
from icpo.test_time.search import Task
from icpo.types import Problem


def task(id="p", question="1 + 1?", answer="2", *, benchmark="sums", seed=0, has_gold=True):
    return Task(Question(Problem(id, question, answer)), benchmark, seed, has_gold)


def said(prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1].content


def drive(search, answer):
    """What a search comes to, and its waves, if `answer` tells the text that follows a call."""
    waves = []
    try:
        calls = next(search)
        while True:
            waves.append(list(calls))
            calls = search.send([completion(answer(call)) for call in calls])
    except StopIteration as end:
        return end.value, waves


def completion(text):
    """A text, with its words as tokens; or whatever completion it is already."""
    return text if isinstance(text, TextCompletion) else TextCompletion(text, True, size(text), 100)


def size(text) -> int:
    return len(text.split())


class Sums:
    """A text engine that adds: rightly, wrongly or not at all, as prompt and seed have it."""

    together = 1

    def __init__(self, tokens=True):
        self.tokens = tokens
        self.asked = []

    def complete(self, requests, done=None):
        found = []
        for place, request in enumerate(requests):
            self.asked.append(request)
            text = self._text(request)
            sizes = (size(text), size(said(request.prompt))) if self.tokens else (None, None)
            found.append(TextCompletion(text, True, *sizes))
            if done is not None:
                done(place, found[-1])
        return found

    def _text(self, request):
        asked = said(request.prompt)
        luck = hashlib.sha256(f"{asked} {request.seed}".encode()).digest()[0]
        if "Summarise" in asked:
            return f"Add, way {luck}."
        if "Check it" in asked:
            return ("It is short.", "Nothing is wrong.")[luck % 2]
        a, b = map(int, re.findall(r"(\d+) plus (\d+)", asked)[-1])
        return rf"So \boxed{{{a + b + luck % 3}}}." if luck > 30 else "I give up."

    def count(self, prompt):
        return size(said(prompt)) if self.tokens else None

    def describe(self):
        return {"engine": "sums", "model": "sums"}
