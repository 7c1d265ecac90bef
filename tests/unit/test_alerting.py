"""Alerts follow from the verdicts of windows: each fires once, stands while its check fails, and resolves by itself."""

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import captures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cd4ml.cli import app
from cd4ml.contracts.alerts import Alert
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.contracts.window import Part, Window
from cd4ml.errors import Cd4mlError, DataError, RegistryError
from cd4ml.monitoring import alerts, monitored, receivers
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.receivers import Receivers
from cd4ml.registry import clock
from cd4ml.storage import Store, open_store

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PASSED, FAILED, ERROR, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE
KEY = "k" * 32
SKIPPED = Outcome.SKIPPED
VALUES = {PASSED: 0.84, FAILED: 0.61, ERROR: None, OPEN: None, SKIPPED: None}
DAY = range(1, 25)
"""Hours of which all windows come after the first, and none within a day of it."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def judge(
    store: Store,
    hour: int,
    outcomes: Mapping[str, Outcome],
    *,
    rows: int = 1000,
    number: int = 1,
    version: str = "1",
    more: Sequence[Check] = (),
) -> Judged:
    """Keeps a window of an hour as it was judged."""
    begin, until = (clock.written(BEGIN + timedelta(hours=one)) for one in (hour, hour + 1))
    part = Part("only", version, False, rows, begin, until, {"200": rows}, {}, rows, 0)
    window = Window("uptake", begin, until, number, "sha256:w", (part,) if rows else (), {}, 0)
    checks = tuple(
        Check(name, "at least 0.7", VALUES[one], one, f"{name} is {VALUES[one]}", slice="region=EU")
        for name, one in outcomes.items()
    )
    judged = Judged(window, Verdict("check_window", {"window": "sha256:w"}, (*checks, *more)))
    monitored.keep(store, judged)
    return judged


def look(store: Store) -> tuple[Alert, ...]:
    return alerts.look(store, "uptake").alerts.standing


def changes(store: Store) -> list[tuple[str, str]]:
    """What became of which check, the oldest first."""
    states = alerts.history(store, "uptake")
    return [(one.what, one.alert.check) for state in states for one in state.alerts.changes]


def test_an_alert_fires_once_stands_while_its_check_fails_and_resolves_by_itself(store: Store) -> None:
    for hour, outcome in enumerate([PASSED, FAILED, FAILED, PASSED]):
        judge(store, hour, {"auc": outcome})
        look(store)
        look(store)

    assert changes(store) == [("fired", "auc"), ("still", "auc"), ("resolved", "auc")]
    last = alerts.history(store, "uptake")[-1].alerts
    assert last.standing == ()
    assert last.changes[0].why == "passed in the window from 2026-01-01T03:00:00+00:00: auc is 0.84"


def test_an_alert_says_where_since_when_what_it_costs_and_what_to_do(store: Store) -> None:
    for hour, outcome in enumerate([PASSED, FAILED, OPEN, FAILED]):
        judge(store, hour, {"auc": outcome})

    [one] = look(store)

    assert (one.check, one.slice, one.reason) == ("auc", "region=EU", "auc is 0.61")
    assert (one.since, one.until) == ("2026-01-01T01:00:00+00:00", "2026-01-01T04:00:00+00:00")
    assert one.cost == "2,000 rows predicted in 2 windows; 0.61, was 0.84"


def test_what_cannot_be_told_or_was_not_asked_changes_nothing(store: Store) -> None:
    judge(store, 0, {"auc": FAILED})
    before = look(store)

    judge(store, 1, {"auc": OPEN})
    judge(store, 2, {"rows": OPEN}, rows=0)

    assert look(store) == before
    assert alerts.known(store, "uptake").number == 1


@pytest.mark.parametrize("then", [{}, {"auc": SKIPPED}], ids=["gone", "skipped"])
def test_a_check_that_was_not_made_for_a_day_is_resolved(store: Store, then: dict[str, Outcome]) -> None:
    judge(store, 0, {"auc": FAILED, "drift of age": PASSED})
    [before] = look(store)
    for hour in DAY[:-1]:
        judge(store, hour, {"drift of age": PASSED, **then})
    assert look(store) == (before,)

    judge(store, DAY[-1], {"drift of age": PASSED, **then})

    assert look(store) == ()
    assert alerts.known(store, "uptake").alerts.changes[0].why == "is not checked any more"


def test_an_hour_without_rows_of_a_slice_neither_resolves_its_alert_nor_fires_it_anew(store: Store) -> None:
    judge(store, 0, {"auc on region=EU": FAILED})
    look(store)
    alerts.acknowledge(store, "uptake", "auc on region=EU", by="A", reason="the source is late")
    judge(store, 1, {"auc": PASSED})
    judge(store, 2, {"version": ERROR}, version="9")
    look(store)
    judge(store, 3, {"auc on region=EU": FAILED})

    [one] = (one for one in look(store) if one.check == "auc on region=EU")
    assert (one.windows, one.acknowledged is not None) == (2, True)
    assert [what for what, name in changes(store) if name == "auc on region=EU"] == ["fired", "acknowledged", "still"]


@pytest.mark.parametrize("then", [PASSED, OPEN])
def test_an_alert_whose_only_failing_window_is_judged_anew_is_resolved(store: Store, then: Outcome) -> None:
    judge(store, 0, {"auc": FAILED})
    look(store)

    judge(store, 0, {"auc": then}, number=2)

    assert look(store) == ()
    why = alerts.known(store, "uptake").alerts.changes[0].why
    assert why.startswith(
        "passed in the window from 2026-01-01T00" if then is PASSED else "fails in no window of the last 100 days"
    )


def test_labels_that_take_ninety_days_fire_and_what_failed_longer_ago_is_resolved(store: Store) -> None:
    judge(store, 0, {"auc": FAILED})
    judge(store, 24 * 90, {"auc": OPEN})
    [one] = look(store)
    assert one.since == "2026-01-01T00:00:00+00:00"

    judge(store, 24 * 101, {"auc": OPEN})

    assert look(store) == ()


def test_an_alert_that_is_older_than_what_is_looked_at_keeps_its_beginning_and_its_cost_goes_on(store: Store) -> None:
    for week in range(40):
        judge(store, 24 * 7 * week, {"auc": FAILED if week else PASSED})
        standing = look(store) + look(store)

    assert {one.id for one in standing} == {alerts.history(store, "uptake")[0].alerts.standing[0].id}
    assert {one.since for one in standing} == {"2026-01-08T00:00:00+00:00"}
    assert {one.cost for one in standing} == {"39,000 rows predicted in 39 windows; 0.61, was 0.84"}


@pytest.mark.parametrize("then", [PASSED, OPEN])
def test_what_is_judged_anew_within_what_is_looked_at_makes_an_alert_younger(store: Store, then: Outcome) -> None:
    for week in range(30):
        judge(store, 24 * 7 * week, {"auc": FAILED})
        look(store)

    judge(store, 24 * 7 * 25, {"auc": then}, number=2)

    [one] = look(store)
    if then is PASSED:
        assert (one.since, one.windows) == ("2026-07-02T00:00:00+00:00", 4)
    else:
        assert one.since == "2026-01-01T00:00:00+00:00"


def test_what_could_not_be_checked_is_an_alert_too(store: Store) -> None:
    judge(store, 0, {"limits": ERROR})

    [one] = look(store)
    assert (one.outcome, one.value, one.cost) == (ERROR, None, "1,000 rows predicted in 1 window")


def test_late_labels_fire_an_alert_of_an_older_window_unless_a_later_one_has_passed(store: Store) -> None:
    judge(store, 0, {"auc": OPEN, "recall": OPEN})
    judge(store, 1, {"auc": PASSED, "recall": OPEN})
    assert look(store) == ()

    judge(store, 0, {"auc": FAILED, "recall": FAILED}, number=2)

    [one] = look(store)
    assert (one.check, one.since) == ("recall", "2026-01-01T00:00:00+00:00")


def test_an_earlier_window_that_fails_too_makes_the_alert_older_and_no_new_one(store: Store) -> None:
    judge(store, 0, {"auc": OPEN})
    judge(store, 1, {"auc": FAILED})
    [first] = look(store)

    judge(store, 0, {"auc": FAILED}, number=2)

    [then] = look(store)
    assert (then.id, then.since, then.fired_at) == (first.id, "2026-01-01T00:00:00+00:00", first.fired_at)
    assert changes(store) == [("fired", "auc"), ("still", "auc")]


def test_versions_that_answered_in_one_window_share_the_alert_of_a_check(store: Store) -> None:
    judge(store, 0, {"auc": FAILED})
    [first] = look(store)

    judge(store, 1, {"version 1: auc": FAILED, "version 2: auc": PASSED, "drift of age in version 2": FAILED})
    still, drift = look(store)
    assert (still.id, still.windows, drift.check) == (first.id, 2, "drift of age")

    judge(store, 2, {"version 1: auc": PASSED, "version 2: auc": PASSED, "drift of age in version 2": PASSED})
    assert look(store) == ()


@pytest.mark.parametrize("other", [PASSED, OPEN, SKIPPED])
@pytest.mark.parametrize("order", [1, -1])
def test_a_limit_that_is_broken_is_an_alert_whatever_another_of_the_same_name_says(
    store: Store, order: int, other: Outcome
) -> None:
    def limits(strict: Outcome) -> list[Check]:
        found = [("at least 0.9", strict), ("at least 0.7", other)][::order]
        return [Check("auc on overall", limit, VALUES[one], one, limit) for limit, one in found]

    judged = judge(store, 0, {}, more=limits(FAILED))
    assert alerts.failed(judged) == {"auc on overall"}
    [first] = look(store)
    judge(store, 1, {}, more=limits(OPEN))

    assert (first.check, first.limit, first.reason) == ("auc on overall", "at least 0.9", "at least 0.9")
    assert look(store) == (first,)


def test_an_alert_goes_by_each_version_that_answers_whatever_the_others_cannot_tell(store: Store) -> None:
    judge(store, 0, {"version 1: auc": FAILED, "version 2: auc": OPEN})
    assert [one.check for one in look(store)] == ["auc"]

    judge(store, 1, {"version 1: auc": PASSED, "version 2: auc": OPEN})
    assert look(store) == ()

    judge(store, 2, {"version 1: auc": PASSED, "version 2: auc": FAILED})
    judge(store, 3, {"auc": PASSED}, version="1")
    [one] = look(store)
    assert (one.since, one.windows) == ("2026-01-01T02:00:00+00:00", 1)


def test_a_version_that_answers_no_more_is_forgotten_once_another_one_can_tell(store: Store) -> None:
    judge(store, 0, {"auc": FAILED}, version="1")
    for hour in DAY:
        judge(store, hour, {"auc": OPEN}, version="2")
    assert [one.check for one in look(store)] == ["auc"]

    judge(store, 25, {"auc": PASSED}, version="2")

    assert look(store) == ()


def test_an_alert_that_goes_on_with_the_next_version_stands_since_it_began(store: Store) -> None:
    judge(store, 0, {"auc": PASSED}, version="1")
    judge(store, 1, {"auc": FAILED}, version="1")
    judge(store, 2, {"version 1: auc": FAILED, "version 2: auc": PASSED})
    [first] = look(store)
    for hour in range(3, 29):
        judge(store, hour, {"auc": FAILED}, version="2")

    [one] = look(store)

    assert (one.id, one.since, one.windows) == (first.id, "2026-01-01T01:00:00+00:00", 28)


def test_traffic_that_came_back_is_no_alert_whoever_answers_then(store: Store) -> None:
    judge(store, 0, {"traffic": FAILED, "age of born": FAILED}, rows=0)
    judge(store, 1, {"traffic": FAILED, "age of born": PASSED}, version="1")
    assert [one.check for one in look(store)] == ["traffic"]

    judge(store, 2, {"traffic": PASSED}, version="2")

    assert look(store) == ()


def test_a_version_that_its_arm_does_not_name_has_the_alerts_of_its_checks(store: Store) -> None:
    judge(store, 0, {"version : auc": FAILED, "version 1: auc": PASSED, "errors in version (unknown)": FAILED})

    assert [one.check for one in look(store)] == ["auc", "errors"]


def test_of_many_that_look_at_once_one_fires(store: Store) -> None:
    judge(store, 0, {"auc": FAILED, "recall": FAILED})
    threads = [threading.Thread(target=look, args=(store,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert changes(store) == [("fired", "auc"), ("fired", "recall")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(course=st.lists(st.sampled_from([PASSED, FAILED, ERROR, OPEN]), min_size=1, max_size=8))
def test_whatever_the_course_what_stands_is_what_failed_last(
    tmp_path_factory: pytest.TempPathFactory, course: list[Outcome]
) -> None:
    store = open_store(tmp_path_factory.mktemp("store"))
    for hour, outcome in enumerate(course):
        judge(store, hour, {"auc": outcome})
        standing = look(store)
        told = [one for one in course[: hour + 1] if one is not OPEN]
        assert bool(standing) == bool(told and told[-1] is not PASSED)
        if standing:
            row = len(told) - next((at for at, one in enumerate(reversed(told)) if one is PASSED), len(told))
            assert standing[0].windows == len(told) - row

    fired, resolved = (sum(what == one for what, _ in changes(store)) for one in ("fired", "resolved"))
    assert fired - resolved == len(look(store))


def test_a_person_acknowledges_an_alert_by_its_id_or_its_check(store: Store) -> None:
    judge(store, 0, {"auc": FAILED, "recall": FAILED})
    auc, _ = look(store)

    alerts.acknowledge(store, "uptake", auc.id, by="A", reason="the source is late")
    alerts.acknowledge(store, "uptake", "recall", by="A", reason="the same")
    judge(store, 1, {"auc": FAILED, "recall": FAILED})

    assert [(one.check, one.windows, one.acknowledged.reason) for one in look(store) if one.acknowledged] == [
        ("auc", 2, "the source is late"),
        ("recall", 2, "the same"),
    ]
    assert alerts.known(store, "uptake").alerts.headline == "2 alerts, 2 acknowledged"


def test_what_does_not_stand_is_not_acknowledged_nor_without_a_reason(store: Store) -> None:
    with pytest.raises(DataError, match=r"^uptake: no alert 'auc' stands; none stands \(`cd4ml monitor alerts uptake`"):
        alerts.acknowledge(store, "uptake", "auc", by="A", reason="known")
    judge(store, 0, {"auc": FAILED})
    [one] = look(store)
    with pytest.raises(DataError, match=f"no alert 'acu' stands; there are {one.id}"):
        alerts.acknowledge(store, "uptake", "acu", by="A", reason="known")
    with pytest.raises(RegistryError, match="the reason: write one line"):
        alerts.acknowledge(store, "uptake", "auc", by="A", reason=" ")


def test_people_list_and_acknowledge_alerts_on_the_command_line(store: Store) -> None:
    run = CliRunner()
    judge(store, 0, {"auc": PASSED})
    judge(store, 1, {"auc": FAILED})
    [one] = look(store)

    said = run.invoke(
        app, ["monitor", "acknowledge", "uptake", one.id, "--by", "A", "--reason", "late", "--store", store.location]
    )
    listed = run.invoke(app, ["monitor", "alerts", "uptake", "--store", store.location], env={"COLUMNS": "200"})

    assert (said.exit_code, listed.exit_code) == (0, 0), said.output + listed.output
    assert "auc is 0.61" in listed.output
    for part in (one.id, "auc", "0.61, was 0.84", "A: late", "2026-01-01 01:00"):
        assert part in listed.output


def test_a_model_without_alerts_says_so_and_past_ones_are_listed_where_asked_for(store: Store) -> None:
    run = CliRunner()
    captures.publish(store.location)
    none = run.invoke(app, ["monitor", "alerts", "uptake", "--store", store.location])
    typo = run.invoke(app, ["monitor", "alerts", "uptaek", "--store", store.location])
    judge(store, 0, {"auc": FAILED})
    look(store)
    judge(store, 1, {"auc": PASSED})
    look(store)
    past = run.invoke(app, ["monitor", "alerts", "uptake", "--all", "--store", store.location], env={"COLUMNS": "200"})

    assert "no alerts" in none.output
    assert typo.exit_code == 1
    assert "no version of uptaek is published; did you mean 'uptake'?" in str(typo.exception)
    assert [past.output.index(word) for word in ("fired", "resolved")]


def test_whoever_goes_on_goes_by_what_is_due(store: Store) -> None:
    words = ["monitor", "run", "uptake", "--go-on", "--since", "2026-01-01", "--store", store.location]

    refused = CliRunner().invoke(app, words)

    assert isinstance(refused.exception, Cd4mlError)
    assert "--go-on: goes by what is due" in str(refused.exception)


@dataclass
class Answering:
    """A receiver of this machine, and what it was sent."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """What it answers one after another; 200 after them."""
    seconds: float = 0.0
    """How long it takes."""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """What it took: path, headers and body."""

    def events(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.got]


@contextmanager
def listening() -> Iterator[Answering]:
    state = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(state.seconds)
            status = state.statuses.pop(0) if state.statuses else 200
            if status == 200:
                state.got.append((self.path, dict(self.headers), body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setenv(receivers.WEBHOOK_KEY, KEY)
    monkeypatch.setattr(receivers, "WAITS", (0.01, 0.01))
    with listening() as state:
        yield state


def tell(store: Store, **to: str) -> list[str]:
    alerts.look(store, "uptake")
    return receivers.tell(store, "uptake", Receivers(**to), lasting=timedelta(hours=3))


def test_a_webhook_is_sent_a_signed_cloud_event_a_change_each_once(store: Store, receiver: Answering) -> None:
    for hour, outcome in enumerate([FAILED, FAILED, PASSED, PASSED]):
        judge(store, hour, {"auc": outcome})
        assert tell(store, webhook=f"{receiver.url}/hook") == []
        assert tell(store, webhook=f"{receiver.url}/hook") == []

    fired, resolved = receiver.events()
    assert [one["type"] for one in (fired, resolved)] == ["cd4ml.alert.fired", "cd4ml.alert.resolved"]
    assert (fired["specversion"], fired["subject"], fired["datacontenttype"]) == ("1.0", "auc", "application/json")
    assert fired["source"] == f"file://{store.location}/alerts/uptake"
    assert fired["id"] == f"uptake/{fired['data']['id']}/fired"
    assert (fired["data"]["reason"], fired["data"]["rows"]) == ("auc is 0.61", 1000)
    assert resolved["data"]["why"].startswith("passed in the window from 2026-01-01T02")
    for path, headers, body in receiver.got:
        assert (path, headers["Content-Type"]) == ("/hook", "application/cloudevents+json; charset=utf-8")
        signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(headers["X-Cd4ml-Signature-256"], f"sha256={signature}")


def test_a_receiver_that_is_busy_is_asked_again(store: Store, receiver: Answering) -> None:
    receiver.statuses = [500, 429]
    judge(store, 0, {"auc": FAILED})

    assert tell(store, webhook=receiver.url) == []
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("statuses", "said"),
    [([503] * 3, "answers 503 Service Unavailable"), ([404], "answers 404 Not Found"), ([302], "answers 302 Found")],
)
def test_what_a_receiver_did_not_take_is_said_and_sent_at_the_next_run(
    store: Store, receiver: Answering, statuses: list[int], said: str
) -> None:
    receiver.statuses = list(statuses)
    judge(store, 0, {"auc": FAILED})

    [told] = tell(store, webhook=f"{receiver.url}/with/a/secret")
    assert said in told
    assert told.endswith("what it was not told of is sent at the next run")
    assert "secret" not in told
    judge(store, 1, {"auc": PASSED})
    assert tell(store, webhook=f"{receiver.url}/with/a/secret") == []

    assert [one["type"] for one in receiver.events()] == ["cd4ml.alert.fired", "cd4ml.alert.resolved"]


def test_a_receiver_that_is_down_or_slow_fails_nothing(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(store, 0, {"auc": FAILED})
    with listening() as gone:
        down = gone.url
    assert tell(store, webhook=down)[0].startswith(f"webhook: {down[7:]} does not answer (ConnectError)")

    monkeypatch.setattr(receivers, "SECONDS", 0.05)
    receiver.seconds = 0.3
    [slow] = tell(store, alertmanager=receiver.url)
    assert "does not answer (" in slow
    assert "Timeout" in slow

    monkeypatch.setattr(receivers, "SECONDS", 10.0)
    receiver.seconds = 0
    assert tell(store, webhook=receiver.url, alertmanager=receiver.url) == []
    assert {path for path, _, _ in receiver.got} >= {"/", "/api/v2/alerts"}


@pytest.mark.parametrize(("key", "said"), [("", "is not set"), ("k" * 31, "is shorter than 32 characters")])
def test_nothing_is_sent_unsigned_or_signed_with_a_key_that_can_be_guessed(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    monkeypatch.setenv(receivers.WEBHOOK_KEY, key)
    judge(store, 0, {"auc": FAILED})

    [told] = tell(store, webhook=receiver.url)

    assert told.startswith(f"webhook: CD4ML_WEBHOOK_KEY {said}")
    assert "make one by `openssl rand -hex 32`" in told
    assert receiver.got == []


@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_an_event_that_is_refused_for_good_is_told_and_keeps_no_other_back(
    store: Store, receiver: Answering, status: int
) -> None:
    judge(store, 0, {"auc": FAILED, "recall": FAILED})
    look(store)
    judge(store, 1, {"auc": PASSED, "recall": FAILED})
    receiver.statuses = [200, status]

    assert tell(store, webhook=receiver.url) == []  # a receiver that is new hears of what stands, which is `recall`
    judge(store, 2, {"auc": FAILED, "recall": PASSED})
    [told] = tell(store, webhook=receiver.url)
    assert f"answers {status} " in told
    assert told.endswith(", which is not sent again")
    assert tell(store, webhook=receiver.url) == []

    assert len(receiver.events()) == 2  # of three
    assert alerts.known(store, "uptake").alerts.delivered["webhook"].failed == ""


def test_a_receiver_that_drops_what_it_has_already_has_it(store: Store, receiver: Answering) -> None:
    judge(store, 0, {"auc": FAILED, "recall": FAILED})
    receiver.statuses = [409, 200]

    assert tell(store, webhook=receiver.url) == []
    assert tell(store, webhook=receiver.url) == []

    assert len(receiver.events()) == 1


@pytest.mark.parametrize("status", [302, 401, 404])
def test_what_a_receiver_refuses_again_and_again_is_given_up_and_keeps_no_other_back(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(receivers, "RUNS", 3)
    judge(store, 0, {"auc": FAILED, "recall": FAILED, "loss": FAILED})
    receiver.statuses = [status, *[503] * 3, status, status, 200, status]

    said = [tell(store, webhook=receiver.url) for _ in range(5)]

    for (one,) in said[:3]:
        assert one.endswith("what it was not told of is sent at the next run")
    given_up = "what changed then was refused in 3 runs, and is not sent again"
    assert [one.endswith(given_up) for one in said[3]] == [True, True]  # all three fired at once
    assert said[4] == []
    assert len(receiver.events()) == 1  # of three


def test_what_came_after_an_event_that_is_given_up_is_refused_in_as_many_runs_of_its_own(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "RUNS", 3)
    judge(store, 0, {"auc": FAILED})
    assert tell(store, webhook=receiver.url) == []
    for hour, outcome in enumerate([PASSED, FAILED], start=1):
        judge(store, hour, {"auc": outcome})
        look(store)
    receiver.statuses = [401] * 5

    said = [tell(store, webhook=receiver.url) for _ in range(5)]

    assert [len(one) for one in said] == [1, 1, 2, 1, 0]
    assert "to resolved of auc; what changed then was refused in 3 runs" in said[2][0]
    assert said[2][1].endswith("what it was not told of is sent at the next run")
    assert [one["type"] for one in receiver.events()] == ["cd4ml.alert.fired"] * 2


def test_a_receiver_that_goes_away_is_told_the_rest_at_the_next_run(store: Store, receiver: Answering) -> None:
    judge(store, 0, {"auc": FAILED})
    tell(store, webhook=receiver.url)
    for hour, outcome in enumerate([PASSED, FAILED, PASSED], start=1):
        judge(store, hour, {"auc": outcome})
        look(store)
    receiver.statuses = [200, 404, 200, 404, 200]

    said = [tell(store, webhook=receiver.url) for _ in range(4)]

    assert [len(one) for one in said] == [1, 1, 0, 0]
    ids = [one["id"] for one in receiver.events()]
    assert len(ids) == len(set(ids)) == 4


@pytest.mark.parametrize(
    ("begin", "said"), [(b"", 1), (b"HTTP/1.1 200 OK\r\n\r\n", 0)], ids=["which has no status", "whose body has no end"]
)
def test_an_answer_that_drips_is_not_waited_for(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch, begin: bytes, said: int
) -> None:
    monkeypatch.setattr(receivers, "SECONDS", 1.0)
    monkeypatch.setattr(receivers, "WAITS", ())
    judge(store, 0, {"auc": FAILED})
    with dripping(begin) as url:
        since = time.monotonic()
        assert len(tell(store, webhook=url)) == said

    assert time.monotonic() - since < 4


@contextmanager
def dripping(begin: bytes) -> Iterator[str]:
    """A receiver that answers with some bytes, and then with one more each tenth of a second, for 8 seconds."""

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(begin)
            for _ in range(80):
                time.sleep(0.1)
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_the_log_of_a_task_has_no_address_of_a_receiver(receiver: Answering) -> None:
    told = f"receivers.Webhook({receiver.url + '/with/a/secret'!r})._send({{}})"
    code = f"import logging; logging.basicConfig(level=20); from cd4ml.monitoring import receivers; {told}"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert [path for path, _, _ in receiver.got] == ["/with/a/secret"]
    assert "secret" not in ended.stderr


def test_alertmanager_is_told_of_all_that_stands_at_each_run_and_of_what_is_over(
    store: Store, receiver: Answering
) -> None:
    for hour, outcome in enumerate([FAILED, FAILED, PASSED]):
        judge(store, hour, {"auc": outcome, "recall": FAILED})
        assert tell(store, alertmanager=f"{receiver.url}/am/") == []

    assert {path for path, _, _ in receiver.got} == {"/am/api/v2/alerts"}
    first, second, third = receiver.events()
    assert [one["labels"]["check"] for one in first] == ["auc", "recall"]
    assert [one["labels"] for one in first] == [one["labels"] for one in second]
    auc = next(one for one in third if one["labels"]["check"] == "auc")
    assert auc["labels"] == first[0]["labels"]
    assert auc["startsAt"] <= auc["endsAt"] <= clock.now()
    assert next(one for one in third if one is not auc)["endsAt"] > clock.now()
    assert first[0]["labels"]["model"] == "uptake"
    assert first[0]["annotations"]["description"] == "auc is 0.61"


def test_an_acknowledged_alert_is_silenced_once(store: Store, receiver: Answering) -> None:
    judge(store, 0, {"auc": FAILED})
    tell(store, alertmanager=receiver.url)
    [one] = alerts.known(store, "uptake").alerts.standing
    alerts.acknowledge(store, "uptake", one.id, by="A", reason="known")

    tell(store, alertmanager=receiver.url)
    tell(store, alertmanager=receiver.url)

    [silence] = [json.loads(body) for path, _, body in receiver.got if path == "/api/v2/silences"]
    assert silence["matchers"] == [{"name": "alert", "value": one.id, "isRegex": False, "isEqual": True}]
    assert (silence["createdBy"], silence["comment"]) == ("A", "known")
    assert silence["startsAt"] < silence["endsAt"]


def test_an_acknowledged_alert_stays_silenced_for_as_long_as_it_stands(store: Store, receiver: Answering) -> None:
    def silences(day: int) -> list[dict[str, str]]:
        receiver.got.clear()
        with clock.at(BEGIN + timedelta(days=day)):
            assert tell(store, alertmanager=receiver.url) == []
        return [json.loads(body) for path, _, body in receiver.got if path == "/api/v2/silences"]

    judge(store, 0, {"auc": FAILED, "recall": FAILED})
    assert silences(0) == []
    alerts.acknowledge(store, "uptake", "auc", by="A", reason="known")

    posted = {day: found for day in range(0, 300, 10) if (found := silences(day))}
    assert list(posted) == [0, 50, 100, 150, 200, 250]
    assert {len(found) for found in posted.values()} == {1}
    assert posted[250][0]["endsAt"] == "2026-12-07T00:00:00+00:00"

    judge(store, 0, {"auc": PASSED, "recall": FAILED}, number=2)
    assert [silences(day) for day in (300, 310, 400)] == [[], [], []]


def test_a_silence_that_was_not_taken_is_posted_at_the_next_run(
    store: Store, receiver: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "WAITS", ())
    judge(store, 0, {"auc": FAILED})
    tell(store, alertmanager=receiver.url)
    alerts.acknowledge(store, "uptake", "auc", by="A", reason="known")
    with clock.at(datetime.now(UTC) - timedelta(days=60)):
        tell(store, alertmanager=receiver.url)
    receiver.got.clear()

    receiver.statuses = [200, 503]
    [untold] = tell(store, alertmanager=receiver.url)
    assert tell(store, alertmanager=receiver.url) == tell(store, alertmanager=receiver.url) == []

    assert "503" in untold
    assert [path.rpartition("/")[2] for path, _, _ in receiver.got] == ["alerts", "alerts", "silences", "alerts"]


def test_whoever_is_told_later_hears_of_what_stands_and_not_of_what_is_over(store: Store, receiver: Answering) -> None:
    for hour, outcome in enumerate([FAILED, PASSED]):
        judge(store, hour, {"auc": outcome, "recall": FAILED})
        look(store)

    tell(store, webhook=receiver.url)

    assert [(one["type"], one["subject"]) for one in receiver.events()] == [("cd4ml.alert.fired", "recall")]


@pytest.mark.parametrize(
    ("url", "said"),
    [("hook", "no address of the web"), ("ftp://host/x", "no address"), ("https://me:secret@host/", "has a password")],
)
def test_an_address_that_is_none_or_has_a_password_is_refused(url: str, said: str) -> None:
    with pytest.raises(Cd4mlError, match=said) as refused:
        receivers.check_address(url)
    assert "secret" not in str(refused.value)
    assert receivers.check_address("") == ""


def test_an_alert_reads_back_as_it_was_written(store: Store) -> None:
    judge(store, 0, {"auc": FAILED})
    [one] = look(store)

    alerts.acknowledge(store, "uptake", one.id, by="A", reason="known")

    said = alerts.known(store, "uptake").alerts.standing[0]
    assert replace(said, acknowledged=None) == one
