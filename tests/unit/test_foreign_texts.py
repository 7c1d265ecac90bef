"""What somebody else wrote is shown as a text, and nothing more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.cli.application import console, plain, say
from cd4ml.names import quoted


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("London", "`London`"),
        ("x" * 41, f"`{'x' * 39}…`"),
        ("<!channel> log in", "`[!channel] log in`"),
        ("http://evil.example/a", "`http[://]evil.example/a`"),
        ("\x1b[2J\nok", "`\\x1b[2J\\nok`"),
        ("a` b", "`a' b`"),
        ("\u202eabc\ud800", "`\\u202eabc\\ud800`"),
        ("München", "`München`"),
    ],
)
def test_a_value_of_a_caller_is_quoted_so_that_it_is_nothing_but_a_text(given: str, shown: str) -> None:
    assert quoted(given) == shown


@settings(max_examples=50)
@given(st.text())
def test_no_text_drives_a_terminal_or_begins_a_line_of_its_own(text: str) -> None:
    with console.capture() as captured:
        say("drift", text)
    first, *others = captured.get().removesuffix("\n").split("\n")

    assert first.startswith("drift    ")
    assert all(line.startswith(" " * 9) for line in others)
    assert "".join([first, *others]).isprintable()
    assert "\x1b" not in plain(text)
