"""A YAML file that a person wrote is read in one way, or refused."""

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given as drawn
from hypothesis import strategies as st

from cd4ml.errors import ArgumentsError
from cd4ml.running import yaml_file


def read(folder: Path, text: str) -> yaml_file.Content:
    file = folder / "run.yaml"
    file.write_bytes(text.encode())
    return yaml_file.read(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5e3", 1500.0),
        ("-0.5", -0.5),
        ("0x1F", 31),
        ("y", "y"),
        ("N", "N"),
        ("2026-11-25", "2026-11-25"),
        ("players.parquet", "players.parquet"),
        ("=", "="),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("~", None),
        ("True", True),
        ("gender=*,region=south", "gender=*,region=south"),
    ],
)
def test_a_value_is_what_it_looks_like(tmp_path: Path, text: str, value: Any) -> None:
    content = read(tmp_path, f"here: {text}")

    assert content.value == {"here": value}
    assert not content.mistakes


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "ON",
        "off",
        "010",
        "-007",
        "5:25:05",
        "08:30",
        "1_000",
        "1_0.5",
        "0b11",
        "0o17",
        "1" * 20,
        "9" * 5000,
    ],
)
def test_what_can_be_read_in_two_ways_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    content = read(tmp_path, f"first: 1\nhere:\n  - {text}\n")

    assert list(content.mistakes) == [("here", "0")]
    said = content.mistakes["here", "0"]
    assert "(line 3)" in said
    assert f'write it in quotes: "{text}"' in said


def test_a_name_that_is_there_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    content = read(tmp_path, "auc:\n  min: 0.9\n  max: 1\n  min: 0.1\n")

    assert content.mistakes == {("auc", "min"): "is there twice (line 2 and line 4); keep one of them"}


def test_a_name_that_is_no_text_is_told_and_becomes_one(tmp_path: Path) -> None:
    content = read(tmp_path, "{1: a, ~: b, yes: c}")

    assert set(content.value) == {"1", "~", "yes"}
    assert content.mistakes.keys() == {("1",), ("~",), ("yes",)}
    assert 'write it in quotes: "1"' in content.mistakes["1",]


def test_what_no_file_can_hold_is_told(tmp_path: Path) -> None:
    content = read(tmp_path, '{"a": "x\\0y", "b": ["\\ud800"]}')

    assert content.mistakes.keys() == {("a",), ("b", "0")}


def test_anchors_and_merged_keys_are_read(tmp_path: Path) -> None:
    content = read(tmp_path, "one: &one {epochs: 3, batch_size: 64}\nother: {<<: *one, epochs: 5}\nthird: *one\n")

    assert content.value["other"] == {"epochs": 5, "batch_size": 64}
    assert content.value["third"] == content.value["one"]
    assert not content.mistakes


NINES = "[" + ",".join(["1"] * 9) + "]"
LAUGHS = f"a0: &a0 {NINES}\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "there are more than 20,000 values, with those that aliases repeat"),
        ("[" + "1," * 100_000 + "]", "there are more than 20,000 values"),
        ("[" * 500 + "]" * 500, "values are nested deeper than 50"),
        ("&a [*a]", "values are nested deeper than 50"),
        ("&a {<<: *a}", "values are nested deeper than 50"),
        ("a: " + "x" * 2**20, "has more than 1,048,576 bytes"),
        (
            "a: !!python/object/apply:os.getcwd []",
            "the tag tag:yaml.org,2002:python/object/apply:os.getcwd is not known",
        ),
        ("a: !!int abc", "is not known here"),
        ("? [a]\n: 1", "a key must be a text"),
        ("a: [", "not YAML"),
        ("a: \x07", "not YAML"),
        ("a: 1\n---\na: 2\n", "but found another document"),
    ],
)
def test_what_no_person_writes_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    began = time.process_time()

    with pytest.raises(ArgumentsError) as raised:
        read(tmp_path, text)

    assert said in str(raised.value)
    assert time.process_time() - began < 5


TEXTS = st.text(st.sampled_from("ab01.:-_+eEx~ yesnoNO'\"#&*<\n[]{},!|>%@`\\\0\x85é\u2028"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@drawn(TEXTS)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "drawn.yaml"
    file.write_bytes(text.encode())
    with contextlib.suppress(ArgumentsError):
        yaml_file.read(file)


@drawn(JSON.filter(lambda value: "\\u0000" not in json.dumps(value)))
def test_what_is_written_as_json_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "drawn.yaml"
    file.write_text(json.dumps(value).replace("Infinity", ".inf"))

    content = yaml_file.read(file)

    assert content.value == value
    assert not content.mistakes


EXPONENT = re.compile(r"(?<![^\s-])[-+]?[0-9]+[eE][-+]?[0-9]+(?!\S)")
"""A number of YAML 1.2, but to YAML 1.1 a text, so that its writers give it no quotes."""


@drawn(JSON.filter(lambda value: not EXPONENT.search(yaml.safe_dump(value).replace(":", " "))))
def test_what_yaml_writers_of_either_version_write_is_read_as_it_was_or_told(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "drawn.yaml"
    file.write_text(yaml.safe_dump(value))

    content = yaml_file.read(file)

    assert content.value == value or content.mistakes
