"""Who is told of alerts: Alertmanager, and a webhook. One that is down fails nothing, and is told at the next run.

How far each was told is a state of the alerts. So each change reaches a receiver at least once; a webhook knows one
that it is sent twice by its id.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from cd4ml.contracts.alerts import Alert, Alerts, Change, Delivered
from cd4ml.errors import Cd4mlError
from cd4ml.monitoring import alerts
from cd4ml.monitoring.alerts import State
from cd4ml.proxies import is_near
from cd4ml.registry import clock
from cd4ml.storage import Store

WEBHOOK_KEY = "CD4ML_WEBHOOK_KEY"
"""The environment variable with the key that what a webhook is sent is signed with."""
SIGNATURE = "X-Cd4ml-Signature-256"
"""The header with `sha256=` and the HMAC of the body, in hexadecimal digits."""
SHORTEST_KEY = 32
"""Characters, of which a key has so many at least."""
SECONDS = 10.0
"""Without the beginning of an answer, until a request counts as lost."""
WAITS = (0.5, 2.0)
"""Seconds before a request is sent again."""
SILENT = timedelta(days=90)
"""How long Alertmanager is told to be silent about an alert that a person knows of; again when half of it is over."""
REFUSED = (400, 410, 413, 422)
"""Answers that say that what was sent will never be taken."""
KNOWN = 409
"""What receivers answer that drop what they are sent twice."""
RUNS = 24
"""In so many in a row a webhook may refuse what is due first, as for a key or an address that has to be mended."""
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each address whole, and one may be a secret


class _UndeliveredError(Exception):
    """A receiver has not taken what it was sent; `after` changes that it has, or will never take."""

    after = 0
    refusals = 0
    """The runs in a row in which what was due first was refused and may be taken yet, with this one."""
    told: Sequence[str] = ()
    """A sentence of each change that it will never take."""


class _DeniedError(_UndeliveredError):
    """A receiver has refused what it was sent, and may take it yet."""


class _RefusedError(_UndeliveredError):
    """A receiver will never take what it was sent."""


@dataclass(frozen=True)
class Told:
    """What is told of a model."""

    model: str
    source: str
    """Where its alerts lie: a URI."""
    standing: Sequence[Alert]
    changes: Sequence[Change]
    """That the receiver does not know of yet."""
    until: datetime
    """When an alert that nobody speaks of any more is over."""
    refusals: int = 0
    """The runs in a row until now in which the receiver refused one of the first changes, and may take it yet."""
    first: int = 0
    """How many changes are the first: those of one moment, which are sent again together."""
    silenced: Mapping[str, str] = field(default_factory=dict)
    """By the id of each alert about which it is silent, until when."""

    @property
    def unsilenced(self) -> list[Alert]:
        """Alerts that a person knows of, where that is new, or little is left of the silence about it."""
        new = {one.alert.id for one in self.changes if one.what in ("acknowledged", "fired")}
        soon = clock.written(clock.moment() + SILENT / 2)
        known = [one for one in self.standing if one.acknowledged]
        return [one for one in known if one.id in new or self.silenced.get(one.id, "") < soon]


@dataclass(frozen=True)
class Taken:
    """What became of what a receiver was told."""

    refused: Sequence[str] = ()
    """A sentence of each change that it will never take."""
    silenced: Mapping[str, str] = field(default_factory=dict)
    """By the id of each alert about which it is silent, until when."""


class Receiver(Protocol):
    """Somebody who is told of alerts."""

    name: str

    def tell(self, told: Told) -> Taken:
        """Sends what is to be told.

        Raises:
            _UndeliveredError: Not all of it was taken.
        """


@dataclass(frozen=True)
class Receivers:
    """Who is told."""

    alertmanager: str = ""
    """Where Alertmanager is; empty where there is none."""
    webhook: str = ""
    """The address of a webhook; empty where there is none."""

    @cached_property
    def all(self) -> list[Receiver]:
        """Those that are named."""
        found: list[Receiver] = [Alertmanager(self.alertmanager)] if self.alertmanager else []
        return [*found, Webhook(self.webhook)] if self.webhook else found


def check_address(url: str) -> str:
    """Makes sure that a receiver can be at an address.

    Raises:
        Cd4mlError: None can.
    """
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise Cd4mlError(f"{url!r} is no address of the web; write one such as https://HOST/alerts")
    if parts.password or parts.username:
        raise Cd4mlError(f"the address of {parts.hostname} has a password in it, which the run's page would show")
    return url


def tell(store: Store, model: str, receivers: Receivers, *, lasting: timedelta) -> list[str]:
    """Tells receivers of the alerts of a model, also of those that they could not be told of before.

    Args:
        store: The store.
        model: The model's name.
        receivers: Who is told.
        lasting: How long an alert stands in Alertmanager that is not spoken of again.

    Returns:
        A sentence of each receiver that could not be told, and of each change that one refuses.
    """
    return [said for one in receivers.all for said in _Telling(store, model, one).tell(lasting)]


@dataclass(frozen=True)
class _Telling:
    """One receiver, who is told of one model."""

    store: Store
    model: str
    receiver: Receiver

    def tell(self, lasting: timedelta) -> list[str]:
        """Tells it; what it could not be told, and why."""
        state = alerts.known(self.store, self.model)
        before = state.alerts.delivered.get(self.receiver.name) or Delivered(0, first=state.number)
        unknown, standing = self._unknown(state, before), state.alerts.standing
        first = sum(number == unknown[0][0] for number, _ in unknown)
        told = Told(
            self.model,
            source=_uri(self.store, self.model),
            standing=standing,
            changes=[change for _, change in unknown],
            until=clock.moment() + lasting,
            refusals=before.refusals,
            first=first,
            silenced=before.silenced,
        )
        try:
            taken = self.receiver.tell(told)
        except _UndeliveredError as error:
            number = unknown[error.after][0] if unknown else 0  # of the first state that it does not have whole
            upto = number - 1 if number > before.first else before.upto
            self._note(replace(before, upto=upto, failed=str(error), refusals=error.refusals))
            missing = f"{error}; what it was not told of is sent at the next run"
            return [f"{self.receiver.name}: {one}" for one in (*error.told, missing)]
        if unknown or before.failed or taken.silenced != before.silenced:
            self._note(replace(before, upto=state.number, failed="", refusals=0, silenced=taken.silenced))
        return [f"{self.receiver.name}: {one}" for one in taken.refused]

    def _unknown(self, state: State, before: Delivered) -> list[tuple[int, Change]]:
        """What it was not told of yet, with the number of the state; one that is new is to know what stood then."""
        found = []
        if not before.upto and before.first:
            [first] = alerts.history(self.store, self.model, after=before.first - 1)[:1]
            found = [(first.number, Change("fired", one)) for one in first.alerts.standing]
        later = alerts.history(self.store, self.model, after=before.upto or before.first)
        known = [one for one in later if one.number <= state.number]
        return found + [(one.number, change) for one in known for change in one.alerts.changes]

    def _note(self, delivered: Delivered) -> None:
        def noted(before: Alerts) -> Alerts | None:
            if before.delivered.get(self.receiver.name) == delivered:
                return None
            by_receiver = {**before.delivered, self.receiver.name: delivered}
            return replace(before, at=clock.now(), changes=(), delivered=by_receiver)

        alerts.change(self.store, self.model, noted)


@dataclass(frozen=True)
class Alertmanager:
    """Alertmanager, by its API of version 2: it is told at each run of all that stands, for it forgets."""

    url: str
    name = "alertmanager"

    def tell(self, told: Told) -> Taken:
        """Sends the alerts that stand or are over, and silences those of which a person knows."""
        standing = {one.id for one in told.standing}
        over = {change.alert.id: change.alert for change in told.changes if change.alert.id not in standing}
        now = clock.now()
        body = [_to_alertmanager(one, told, clock.written(told.until)) for one in told.standing]
        body += [_to_alertmanager(one, told, now) for one in over.values()]
        if body:
            self._post("alerts", body)
        silenced = {one.id: told.silenced[one.id] for one in told.standing if one.id in told.silenced}
        for alert in told.unsilenced:
            silence = _silence(alert)
            self._post("silences", silence)
            silenced[alert.id] = silence["endsAt"]
        return Taken(silenced=silenced)

    def _post(self, what: str, body: Any) -> None:
        content = json.dumps(body).encode()
        _post(f"{self.url.rstrip('/')}/api/v2/{what}", content, {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Webhook:
    """A webhook, which is sent a CloudEvent each time that an alert fires, is acknowledged or resolved."""

    url: str
    name = "webhook"

    def tell(self, told: Told) -> Taken:
        """Sends an event a change, signed."""
        refused = list[str]()
        for place, change in enumerate(told.changes):
            if change.what == "still":
                continue
            what = f"to {change.what} of {change.alert.check}"
            try:
                self._send(_event(change, told))
            except _RefusedError as error:
                refused.append(f"{error} {what}, which is not sent again")
            except _UndeliveredError as error:
                known = told.refusals if place < told.first else 0  # what was refused till now is taken or given up
                error.after, error.told, error.refusals = place, refused, known + isinstance(error, _DeniedError)
                if error.refusals < RUNS:
                    raise
                refused.append(f"{error} {what}; what changed then was refused in {RUNS} runs, and is not sent again")
        return Taken(refused)

    def _send(self, event: Mapping[str, Any]) -> None:
        key, body = os.environ.get(WEBHOOK_KEY, ""), json.dumps(event).encode()
        if len(key) < SHORTEST_KEY:
            what = f"is shorter than {SHORTEST_KEY} characters" if key else "is not set"
            raise _UndeliveredError(
                f"{WEBHOOK_KEY} {what}, and nothing is sent that is not signed; make one by `openssl rand -hex 32`"
            )
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        content = "application/cloudevents+json; charset=utf-8"
        _post(self.url, body, {"Content-Type": content, SIGNATURE: f"sha256={signature}"})


def _to_alertmanager(alert: Alert, told: Told, ends: str) -> dict[str, Any]:
    """An alert as Alertmanager takes it; `alert` and `model` are labels to group and silence by."""
    labels = {"alertname": "ModelInProduction", "model": told.model, "alert": alert.id, "check": alert.check}
    annotations = {"summary": f"{told.model}: {alert.check}", "description": alert.reason, "cost": alert.cost}
    return {
        "labels": {**labels, **({"slice": alert.slice} if alert.slice else {}), "severity": "warning"},
        "annotations": {**annotations, "since": alert.since, "limit": alert.limit},
        "startsAt": alert.fired_at,
        "endsAt": ends,
        "generatorURL": told.source,
    }


def _silence(alert: Alert) -> dict[str, Any]:
    assert alert.acknowledged
    return {
        "matchers": [{"name": "alert", "value": alert.id, "isRegex": False, "isEqual": True}],
        "startsAt": clock.now(),
        "endsAt": clock.written(clock.moment() + SILENT),
        "createdBy": alert.acknowledged.by,
        "comment": alert.acknowledged.reason,
    }


def _event(change: Change, told: Told) -> dict[str, Any]:
    """A CloudEvent 1.0, structured."""
    alert = change.alert
    acknowledged = alert.acknowledged.at if change.what == "acknowledged" and alert.acknowledged else ""
    return {
        "specversion": "1.0",
        "id": "/".join(filter(None, (told.model, alert.id, change.what, acknowledged))),
        "source": told.source,
        "type": f"cd4ml.alert.{change.what}",
        "subject": alert.check,
        "time": acknowledged or (alert.fired_at if change.what == "fired" else clock.now()),
        "datacontenttype": "application/json",
        "data": {"model": told.model, "why": change.why, "cost": alert.cost, **asdict(alert)},
    }


def _uri(store: Store, model: str) -> str:
    uri = store.uri(f"{alerts.FOLDER}/{model}")
    return uri if "://" in uri else Path(uri).as_uri()


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Sends a body, again where the receiver is busy or away.

    Raises:
        _RefusedError: It will never be taken.
        _DeniedError: It was refused, and may be taken yet.
        _UndeliveredError: It was not taken. The address is not told but for the host, for it may be a secret.
    """
    host, said = urlsplit(url).netloc, ""
    for wait in (*WAITS, None):
        try:
            answer = asyncio.run(_answer(url, body, headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            said = f"{host} does not answer ({type(error).__name__})"
        else:
            if answer.is_success or answer.status_code == KNOWN:
                return
            said = f"{host} answers {answer.status_code} {answer.reason_phrase}"
            if answer.status_code in REFUSED:
                raise _RefusedError(said)
            if answer.status_code != 429 and answer.status_code < 500:
                raise _DeniedError(said)
        if wait is not None:
            time.sleep(wait)
    raise _UndeliveredError(said)


async def _answer(url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """What is answered, of which the body is not read, for it may have no end."""
    async with (
        httpx.AsyncClient(timeout=SECONDS, trust_env=not is_near(url)) as client,
        asyncio.timeout(SECONDS),  # over all, for the one of httpx is of each read
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        return answer
