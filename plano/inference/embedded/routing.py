"""The embedded orchestrator: which routes serve a request, by two looks at what it means.

The first look is the static vectors with the n-grams (about 0.2 ms). Where that leaves a doubt, and only there, a
small transformer looks as well (a few milliseconds on one core), and the sum of both decides.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from plano.inference.calls import Decision, OrchestratorCall, Route, Turn
from plano.inference.embedded.calibration import Calibration, Null
from plano.inference.embedded.clauses import split_clauses
from plano.inference.embedded.student import Student
from plano.inference.embedded.vectors import (
    WEIGHTS,
    StaticVectors,
    TextSet,
    WeightsError,
    bound_text,
    shared_vectors,
)

REMEMBERED_ROUTES: Final = 4_096  # in all sets together, about 7 KB each
CANDIDATES: Final = 16  # routes that the second look compares: the best of the first
LONG_WORDS: Final = 40  # from here on the beginning and the end of a request count by themselves too
VIEW_WORDS: Final = 25
CONTEXT_TURNS: Final = 2  # of the user, before the last one
_SEPARATORS: Final = re.compile(r"[_\-./:\s]+|(?<=[a-z0-9])(?=[A-Z])")
Matrix = NDArray[np.float32]


class Opinion(NamedTuple):
    """The best route's place and the probability that it is the right one; `looks` is how many it took (1 or 2)."""

    route: int
    probability: float
    looks: int


class Background(NamedTuple):
    """Requests about everything, few of which any one set of routes serves, and the student's vectors of them."""

    texts: tuple[str, ...]
    vectors: Matrix

    @classmethod
    def read(cls, folder: Path = WEIGHTS) -> Background:
        """Raises WeightsError."""
        path = folder / "background.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                texts = tuple(str(stored["texts"]).split("\n"))
                vectors = stored["vectors"].astype(np.float32) / np.float32(127.0)
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise WeightsError(f"{path}: {error}") from error
        if len(texts) != len(vectors):
            raise WeightsError(f"{path}: has {len(texts)} texts and {len(vectors)} vectors")
        return cls(texts, vectors)


def describe_route(route: Route) -> str:
    """What a route is compared as: "name words: description"."""
    name = " ".join(part for part in _SEPARATORS.split(route.name) if part)
    return f"{name}: {route.description}" if route.description.strip() else name


class RouteSet:
    """Routes that stand together, prepared once: their vectors, and how the background scores with them."""

    def __init__(
        self,
        routes: Sequence[Route],
        vectors: StaticVectors,
        student: Student,
        background: Background,
        calibration: Calibration,
    ) -> None:
        self.names = tuple(route.name for route in routes)
        self._texts = [describe_route(route) for route in routes]
        self._vectors = vectors
        self._student = student
        self._background = background
        self._calibration = calibration
        self._set = TextSet(vectors, self._texts)
        self._background_scores = np.stack([self._set.score(text) for text in background.texts])
        self._null = Null.measure(self._background_scores)
        self._seen = np.zeros((len(routes), student.dimensions), dtype=np.float32)
        self._is_seen = np.zeros(len(routes), dtype=bool)
        self._both_null: Null | None = None

    def judge(self, text: str) -> Opinion:
        """The opinion on a request: the second look is taken where the first leaves a doubt."""
        views = _views(text)
        tokens = [self._vectors.split(view) for view in views]
        scores = self.score_first(views, tokens)
        best, second = _two_best(scores)
        calibration = self._calibration
        probability = calibration.first.probability(
            float(scores[best]), None if second is None else float(scores[second]), self._null
        )
        if not any(tokens) or not calibration.unsure_from < probability < calibration.unsure_to:
            return Opinion(best, probability, 1)
        candidates = self._choose_candidates(scores)
        summed = self.score_both(scores, tokens, candidates)
        best, second = _two_best(summed)
        probability = calibration.both.probability(
            float(summed[best]), None if second is None else float(summed[second]), self.null_of_both(candidates)
        )
        return Opinion(int(candidates[best]), probability, 2)

    def score_first(self, views: Sequence[str], tokens: Sequence[Sequence[int]]) -> Matrix:
        """The first look's score of each route: the best over the views of the request."""
        scores = self._set.score(views[0], tokens[0])
        for view, its_tokens in zip(views[1:], tokens[1:], strict=True):
            np.maximum(scores, self._set.score(view, its_tokens), out=scores)
        return scores

    def score_both(self, scores: Matrix, tokens: Sequence[Sequence[int]], candidates: NDArray[np.intp]) -> Matrix:
        """The sum of both looks for the candidates."""
        request = self._student.embed([one for one in tokens if one])
        closeness = (self._student_rows(candidates) @ request.T).max(axis=1)
        both: Matrix = scores[candidates] + np.float32(self._calibration.student_share) * closeness
        return both

    @property
    def null(self) -> Null:
        """How the background comes out at the first look."""
        return self._null

    def null_of_both(self, candidates: NDArray[np.intp]) -> Null:
        """How the background comes out with these candidates when both looks are summed."""
        if self._both_null is not None:
            return self._both_null
        closeness = self._background.vectors @ self._student_rows(candidates).T
        summed = self._background_scores[:, candidates] + np.float32(self._calibration.student_share) * closeness
        null = Null.measure(summed)
        if candidates.size == len(self.names):  # the same ones every time
            self._both_null = null
        return null

    def _choose_candidates(self, scores: Matrix) -> NDArray[np.intp]:
        if scores.size <= CANDIDATES:
            return np.arange(scores.size)
        return np.argpartition(-scores, CANDIDATES)[:CANDIDATES]

    def _student_rows(self, candidates: NDArray[np.intp]) -> Matrix:
        missing = candidates[~self._is_seen[candidates]]
        if missing.size:
            tokens = [self._vectors.split(self._texts[place]) for place in missing]
            self._seen[missing] = self._student.embed(tokens)
            self._is_seen[missing] = True
        return self._seen[candidates]


class EmbeddedOrchestrator:
    """Decides calls of the role `orchestrator`. For one thread at a time. Raises WeightsError when made."""

    def __init__(self, folder: Path = WEIGHTS, calibration: Calibration | None = None) -> None:
        self._vectors = shared_vectors() if folder == WEIGHTS else StaticVectors(folder)
        self._student = Student(folder)
        self._background = Background.read(folder)
        self.calibration = calibration or Calibration.read(folder / "calibration.json")
        self._sets: OrderedDict[tuple[Route, ...], RouteSet] = OrderedDict()
        self._remembered = 0
        self.second_looks = 0

    def prepare(self, routes: tuple[Route, ...]) -> RouteSet:
        """The set of these routes: remembered, or made, for which the sets not used for longest are forgotten."""
        known = self._sets.get(routes)
        if known is not None:
            self._sets.move_to_end(routes)
            return known
        made = RouteSet(routes, self._vectors, self._student, self._background, self.calibration)
        self._sets[routes] = made
        self._remembered += len(routes)
        while self._remembered > REMEMBERED_ROUTES and len(self._sets) > 1:
            forgotten, _ = self._sets.popitem(last=False)
            self._remembered -= len(forgotten)
        return made

    def decide(self, call: OrchestratorCall) -> Decision:
        """The routes for the last user turn, best first, or in the order in which they are asked for when several are;
        none when nothing serves. `confidence` is the probability that the decision is right."""
        routes = self.prepare(call.routes)
        asked, before = _last_request(call.turns)
        whole = self._judge(routes, asked)
        if call.multiple:
            several = self._decide_clauses(routes, asked, whole)
            if several is not None:
                return several
        if whole.probability >= self.calibration.threshold:
            return Decision((routes.names[whole.route],), whole.probability)
        # Earlier turns would pull a change of topic back to the old one: they speak only when this turn says nothing.
        if before:
            in_context = self._judge(routes, "\n".join([*before, asked]))
            if in_context.probability >= self.calibration.threshold:
                return Decision((routes.names[in_context.route],), in_context.probability)
        return Decision((), 1.0 - whole.probability)

    def _decide_clauses(self, routes: RouteSet, asked: str, whole: Opinion) -> Decision | None:
        clauses = split_clauses(bound_text(asked))
        if len(clauses) < 2:
            return None
        found: dict[int, float] = {}
        for clause in clauses:
            opinion = self._judge(routes, clause)
            if opinion.probability >= self.calibration.clause_threshold:
                found[opinion.route] = max(found.get(opinion.route, 0.0), opinion.probability)
        if len(found) < 2:
            if found and whole.probability < self.calibration.threshold:
                ((route, probability),) = found.items()
                return Decision((routes.names[route],), probability)
            return None
        return Decision(tuple(routes.names[route] for route in found), min(found.values()))

    def _judge(self, routes: RouteSet, text: str) -> Opinion:
        opinion = routes.judge(text)
        self.second_looks += opinion.looks == 2
        return opinion


def _last_request(turns: Sequence[Turn]) -> tuple[str, list[str]]:
    """The last user turn and those of the user shortly before it."""
    asked = [turn.text for turn in turns if turn.role == "user"] or [turn.text for turn in turns[-1:]]
    return asked[-1], asked[:-1][-CONTEXT_TURNS:]


def _views(text: str) -> tuple[str, ...]:
    text = bound_text(text)
    words = text.split()
    if len(words) <= LONG_WORDS:
        return (text,)
    return (text, " ".join(words[:VIEW_WORDS]), " ".join(words[-VIEW_WORDS:]))


def _two_best(scores: Matrix) -> tuple[int, int | None]:
    if scores.size == 1:
        return 0, None
    best = int(scores.argmax())
    others = scores.copy()
    others[best] = -np.inf
    return best, int(others.argmax())
