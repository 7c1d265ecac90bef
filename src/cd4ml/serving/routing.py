"""What the router answers: callers, by an arm, and those who watch it."""

import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cd4ml.contracts.traffic import Arm, Traffic
from cd4ml.serving import capture as captures
from cd4ml.serving import feedback, json_body, messages
from cd4ml.serving.application import Answer, Handler, Protocol, RefusedError, Request
from cd4ml.serving.arms import TRACES, Arms, Asked, choose, is_shown, passed_on
from cd4ml.serving.capture import Answered, Capture
from cd4ml.serving.kept_values import Masks
from cd4ml.serving.messages import PUID, SKIP, header
from cd4ml.serving.metrics import PATHS
from cd4ml.serving.mirrors import Mirrors
from cd4ml.serving.router_metrics import RouterMetrics
from cd4ml.serving.seldon_protocol import HEALTH, METADATA, PING, PREDICT, PREDICTIONS, failure, pong
from cd4ml.serving.traffic_file import TrafficFile

INFER = re.compile(r"/v2/models/[A-Za-z0-9._-]+(/versions/[A-Za-z0-9._-]+)?/infer")
TRAFFIC = "/traffic"

_PASSED_ON = {b"accept", b"content-type", *TRACES}
"""The headers of a request that an arm gets."""


@dataclass(frozen=True)
class Routed:
    """A request that is on its way."""

    at: int
    """When it had come in, as `captures.now` has it."""
    id: str
    caller: str | None
    """What who asks is known by; None where that is not known."""
    unit: str | None
    """Stands for the caller in what is captured."""
    asked: Asked
    lookup_ms: float | None
    """How long the caller looked features up, where it says so."""
    features: str | None
    """JSON of what of it is captured."""

    @property
    def key(self) -> str:
        """What its arm is chosen by."""
        return self.caller or self.id


class Router:
    """What callers ask.

    Args:
        file: Who is answered by which arm.
        arms: Are asked.
        capture: Takes what they answer; None where nothing is kept.
        masks: How values are kept.
        metrics: Count it.
        named: The features whose values are kept in place of those of the models; None where nothing is said.
    """

    def __init__(
        self,
        file: TrafficFile,
        *,
        arms: Arms,
        capture: Capture | None,
        masks: Masks,
        metrics: RouterMetrics,
        named: Sequence[str] | None = None,
    ) -> None:
        self._file, self._arms, self._metrics, self._named = file, arms, metrics, named
        self._capture, self._masks = capture, lru_cache(maxsize=1)(masks.with_personal)
        self.mirrors = Mirrors()

    @property
    def protocols(self) -> list[Protocol]:
        """The Open Inference Protocol, and Seldon's for all other paths."""
        routes: dict[str, Mapping[str, Handler]] = {PING: {"GET": pong}}
        routes |= {path: {"POST": partial(self._predict, path)} for path in (PREDICT, *PREDICTIONS)}
        routes |= {path: {"GET": partial(self._describe, path)} for path in METADATA}
        routes |= {path: {"GET": self._ready} for path in HEALTH}
        if self._capture:
            routes |= feedback.routes(self._capture, took=self._metrics.fed_back)
        others = {"/v2/health/live": {"GET": pong}, "/v2/health/ready": {"GET": self._ready}}
        open_inference = _OpenInference(self._predict, others)
        return [
            Protocol("open-inference", open_inference, json_body.failure, "/v2"),
            Protocol("seldon", routes, failure),
        ]

    async def _predict(self, path: str, request: Request) -> Answer:
        traffic = self._file.traffic
        routed = self._routed(path, request, traffic)
        arm = choose(traffic, routed.key)
        tags = {"arm": arm.name, "propensity": arm.weight}
        headers = {PUID: routed.id, **{f"cd4ml-{name}": str(value) for name, value in tags.items()}}
        answer, content = await self._ask(arm, routed)
        for mirror in traffic.mirrors:
            if is_shown(mirror, routed.key):
                self._show(mirror, routed)
        if isinstance(answer, RefusedError):
            answer.headers = {**answer.headers, **headers}
            raise answer
        tagged = answer.status == 200 and messages.tag(content, routed.id, tags)
        text = messages.text(content) if tagged else answer.content
        return Answer(text, answer.content_type, answer.status, {**answer.headers, **headers})

    def _routed(self, path: str, request: Request, traffic: Traffic) -> Routed:
        content = messages.parse(request.body)
        request_id = messages.request_id(content, header(request, PUID)) or uuid.uuid4().hex
        headers = passed_on(request, _PASSED_ON) | {PUID: request_id}
        caller = _caller(request, content, traffic)
        masks = self._masks(traffic.personal_features)
        return Routed(
            at=captures.now(),
            id=request_id,
            caller=caller,
            unit=masks.unit(caller) if caller else None,
            asked=Asked("POST", path, headers | ({SKIP: "true"} if self._capture else {}), request.body),
            lookup_ms=messages.lookup_ms(request),
            features=masks.text(messages.features(content, traffic.features(self._named))),
        )

    def _show(self, mirror: Arm, routed: Routed) -> None:
        """Has a mirror answer too; a copy for which there is no room is counted and kept as one that failed."""
        if not self.mirrors.show(mirror, len(routed.asked.body), partial(self._ask, mirror, routed)):
            self._metrics.dropped(mirror)
            self._keep(mirror, routed, status=503, seconds=None)

    async def _ask(self, arm: Arm, routed: Routed) -> tuple[Answer | RefusedError, Any]:
        """What an arm answers, and that as JSON has it, or why it does not; counted and kept."""
        started = time.perf_counter()
        answer: Answer | RefusedError
        try:
            answer = await self._arms.ask(arm, routed.asked)
            content = messages.parse(answer.content)
        except RefusedError as refused:
            answer, content = refused, None
        seconds = time.perf_counter() - started
        self._metrics.answered(arm, answer.status, seconds)
        self._keep(arm, routed, status=answer.status, seconds=seconds, content=content)
        return answer, content

    def _keep(self, arm: Arm, routed: Routed, *, status: int, seconds: float | None, content: Any = None) -> None:
        """Keeps what an arm did with a request; no seconds where it never got it."""
        if self._capture:
            outputs, predictions = messages.predictions(content) if status == 200 else (None, None)
            row = Answered(
                at=routed.at,
                request_id=routed.id,
                arm=arm.name,
                version=arm.version,
                propensity=arm.propensity,
                mirrored=arm.mirror,
                unit=routed.unit,
                status=status,
                latency_ms=None if seconds is None else seconds * 1000,
                lookup_ms=routed.lookup_ms,
                features=routed.features,
                outputs=outputs,
                predictions=predictions,
            )
            size = sum(map(sys.getsizeof, (routed.features, *(outputs or ()))))
            self._capture.requests.add(row, size + captures.BYTES_OF_A_NUMBER * len(predictions or ()))

    async def _ready(self, _: Request) -> Answer:
        away = await self._arms.not_ready(self._file.traffic.answering)
        if away:
            raise RefusedError(503, f"arms that cannot answer: {', '.join(away)}", "NOT_READY")
        return json_body.answer({"arms": [arm.name for arm in self._file.traffic.answering]})

    async def _describe(self, path: str, _: Request) -> Answer:
        """What the arm says of its model that answers most."""
        arm = max(self._file.traffic.answering, key=lambda one: one.weight)
        return await self._arms.ask(arm, Asked("GET", path, {}, b""))


def watched(file: TrafficFile, *, capture: Capture | None, metrics: RouterMetrics) -> Protocol:
    """What those ask who watch the router.

    Args:
        file: Who is answered by which arm.
        capture: What is kept; None where nothing is.
        metrics: What is counted.
    """

    async def expose(_: Request) -> Answer:
        metrics.keeps(capture)
        metrics.traffic_refused.set(bool(file.mistake))
        return Answer(metrics.text, CONTENT_TYPE_PLAIN_0_0_4)

    async def show_traffic(_: Request) -> Answer:
        return json_body.answer({"followed": file.traffic.content, "mistake": file.mistake})

    routes = {path: {"GET": expose} for path in PATHS} | {TRAFFIC: {"GET": show_traffic}}
    return Protocol("watched", routes, json_body.failure)


class _OpenInference(Mapping[str, Mapping[str, Handler]]):
    """The paths of the Open Inference Protocol: predictions whatever the model is called, and some others."""

    def __init__(
        self, predict: Callable[[str, Request], Awaitable[Answer]], others: Mapping[str, Mapping[str, Handler]]
    ) -> None:
        self._predict, self._others = predict, others

    def __getitem__(self, path: str) -> Mapping[str, Handler]:
        return {"POST": partial(self._predict, path)} if INFER.fullmatch(path) else self._others[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._others)

    def __len__(self) -> int:
        return len(self._others)


def _caller(request: Request, content: Any, traffic: Traffic) -> str | None:
    if traffic.sticky is None:
        return None
    if traffic.sticky.header:
        return header(request, traffic.sticky.header)
    return messages.caller(content, traffic.sticky.feature or "")
