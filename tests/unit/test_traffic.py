"""What a file of traffic may say, how one that says something else is told, and what is captured."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cd4ml.contracts import captured
from cd4ml.contracts.traffic import Arm, Sticky, Traffic
from cd4ml.errors import DocumentError

CHAMPION = {"name": "uptake-1", "url": "http://10.0.0.1:9000", "weight": 0.9, "version": "1"}
CHALLENGER = {"name": "uptake-2", "url": "http://uptake-2.models:9000/", "weight": 0.1, "version": "2"}
SHADOW = {"name": "uptake-3", "url": "http://10.0.0.3:9000", "weight": 0, "mirror": True}
PAGE = (Path(__file__).parents[2] / "docs/routing.md").read_text(encoding="utf-8")


def shown(language: str) -> str:
    """The block of a language in docs/routing.md."""
    [block] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return block


def parsed(*arms: dict[str, Any], **others: Any) -> Traffic:
    return Traffic.parse(json.dumps({"kind": "cd4ml/Traffic", "arms": arms, **others}), "traffic.json")


def mistake(*arms: dict[str, Any], **others: Any) -> str:
    with pytest.raises(DocumentError) as raised:
        parsed(*arms, **others)
    return str(raised.value)


def test_arms_answer_or_are_mirrors() -> None:
    traffic = parsed(CHAMPION, CHALLENGER, SHADOW, sticky={"header": "X-Player"}, captured_features=["age"])

    assert [arm.name for arm in traffic.answering] == ["uptake-1", "uptake-2"]
    assert [arm.name for arm in traffic.mirrors] == ["uptake-3"]
    assert traffic.sticky == Sticky(header="X-Player")
    assert traffic.captured_features == ("age",)
    assert traffic.headline == "uptake-1 0.9, uptake-2 0.1, uptake-3 mirror"


def test_without_a_word_no_feature_is_captured_and_nobody_is_known() -> None:
    traffic = parsed({**CHAMPION, "weight": 1})

    assert (traffic.captured_features, traffic.sticky) == ((), None)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    arms = (Arm("a", "http://a:1", 0.1), Arm("b", "http://b:1", 0.2), Arm("c", "http://c:1", 0.7))
    written = Traffic(arms, Sticky(feature="player_id"), ("age",)).write(tmp_path / "traffic.json")

    assert Traffic.read(tmp_path / "traffic.json") == written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": 0.8}, "the weights of the arms sum to 0.9, not 1"),
        ({"weight": -0.1}, "arm 'uptake-1': its weight is -0.1, not in [0, 1]"),
        ({"weight": float("nan")}, "arm 'uptake-1': its weight is nan, not in [0, 1]"),
        ({"weight": "0.9"}, "arms.0.weight: Input should be a valid number, not '0.9'"),
        ({"weight": True}, "arms.0.weight: Input should be a valid number, not true"),
        ({"mirror": True}, "arm 'uptake-1': a mirror answers nobody, so its weight is 0, not 0.9"),
        ({"copied": 1.5}, "arm 'uptake-1': the share of requests that are copied is 1.5, not in (0, 1]"),
        ({"copied": 0.5}, "arm 'uptake-1': only a mirror gets copies; write `mirror: true`, or no `copied`"),
        ({"name": "uptake-2"}, "arm uptake-2 is there more than once"),
        ({"name": "Up take"}, "arm 'Up take': its name is not at most 63 small letters"),
        ({"name": "x" * 64}, "its name is not at most 63 small letters"),
        ({"url": "10.0.0.1:9000"}, "arm 'uptake-1': its url is '10.0.0.1:9000', not http://HOST:PORT"),
        ({"url": "http://10.0.0.1:99999"}, "its url is 'http://10.0.0.1:99999', not http://HOST:PORT"),
        ({"url": "http://10.0.0.1/predict"}, "its url is 'http://10.0.0.1/predict', not http://HOST:PORT"),
        ({"url": "http://me:hush@10.0.0.1"}, "its url names a user; it has to be http://HOST:PORT alone"),
        ({"url": "http://10.0.0.1:0"}, "its url is 'http://10.0.0.1:0', not http://HOST:PORT"),
        ({"url": "http://two words:9000"}, "its url is 'http://two words:9000', not http://HOST:PORT"),
        ({"url": "file:///etc/passwd"}, "its url is 'file:///etc/passwd', not http://HOST:PORT"),
    ],
)
def test_an_arm_that_cannot_be_followed_is_named(change: dict[str, Any], said: str) -> None:
    assert said in mistake({**CHAMPION, **change}, CHALLENGER)


def test_weights_without_a_sum_are_told_too() -> None:
    too_great = ({**one, "weight": 1e308} for one in (CHAMPION, CHALLENGER))

    assert "its weight is 1e+308, not in [0, 1]" in mistake(*too_great)


def test_every_mistake_is_told_at_once() -> None:
    said = mistake({**CHAMPION, "url": ""}, {**CHALLENGER, "weight": 2}, sticky={"header": "X Player"})

    assert said == (
        "traffic.json: not a cd4ml/Traffic (arm 'uptake-1': its url is '', not http://HOST:PORT; arm 'uptake-2': its "
        "weight is 2, not in [0, 1]; the weights of the arms sum to 2.9, not 1; sticky: 'X Player' is no name of a "
        "header); write it again as docs/routing.md says"
    )


@pytest.mark.parametrize("sticky", [{}, {"header": ""}, {"header": "X-Player", "feature": "age"}])
def test_a_caller_is_known_by_one_thing(sticky: dict[str, str]) -> None:
    said = "sticky: takes either the name of a header or that of a feature"
    assert said in mistake(CHAMPION, CHALLENGER, sticky=sticky)


def test_a_secret_in_an_address_is_not_told() -> None:
    assert "hush" not in mistake({**CHAMPION, "url": "http://me:hush@10.0.0.1"}, CHALLENGER)


@pytest.mark.parametrize("url", ["https://models.example", "http://[::1]:9000/", "http://a-b.c_d:65535"])
def test_an_arm_is_named_by_any_address(url: str) -> None:
    assert parsed({**CHAMPION, "url": url}, CHALLENGER).arms[0].url == url


def test_without_an_arm_nobody_is_answered() -> None:
    assert "the weights of the arms sum to 0, not 1" in mistake()


def test_the_page_shows_traffic_that_can_be_followed() -> None:
    assert Traffic.parse(shown("json"), "docs/routing.md").headline == "uptake-7 0.9, uptake-8 0.1, uptake-9 mirror"


def keep(folder: Path, schema: pa.Schema, **values: Any) -> None:
    folder.mkdir(parents=True)
    row = dict.fromkeys(schema.names) | values
    pq.write_table(pa.Table.from_pylist([row], schema=schema), folder / "a.parquet")
    (folder / ".unfinished-b.parquet").write_text("half")


def test_the_page_shows_how_what_is_captured_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    keep(tmp_path / "capture/requests/2026-01-02", captured.REQUESTS, at=at, request_id="one", arm="uptake-7")
    keep(tmp_path / "capture/feedback/2026-01-03", captured.FEEDBACK, at=at, request_id="one", reward=1.0)

    found: dict[str, Any] = {}
    exec(shown("python"), found)

    [row] = found["rewarded"].to_pylist()
    assert (row["arm"], row["reward"]) == ("uptake-7", 1.0)


def test_where_nothing_is_captured_yet_there_are_no_rows(tmp_path: Path) -> None:
    assert captured.requests(tmp_path).to_table().schema == captured.REQUESTS
    assert captured.feedback(tmp_path).count_rows() == 0
