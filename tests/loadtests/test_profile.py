"""The profile of a frontend: what the raw samples say."""

from __future__ import annotations

import pytest

from loadtests.processes import BenchError
from loadtests.profile import Cost, Profile, parse, unit_of

FOLDED = """\
run (runners.py:86);data_received (http1.py:40);admit (exchange.py:10) 30
run (runners.py:86);data_received (http1.py:40);relay (exchange.py:90) 50
run (runners.py:86);walk (schema.py:5);walk (schema.py:5) 20
"""


def test_own_time_is_the_top_of_the_stack_and_shares_are_of_all_samples() -> None:
    profile = Profile.parse(FOLDED)
    assert profile.samples == 100
    assert profile.own == {"admit (exchange.py:10)": 30, "relay (exchange.py:90)": 50, "walk (schema.py:5)": 20}
    assert profile.inclusive["data_received (http1.py:40)"] == 80


def test_a_recursive_function_counts_once_per_stack() -> None:
    assert Profile.parse(FOLDED).inclusive["walk (schema.py:5)"] == 20


def test_the_cost_of_a_request_is_divided_by_the_shares() -> None:
    text = Profile.parse(FOLDED).render(Cost(30.0, 10.0), "request", top=3)
    assert "40.0 us of CPU per request, 25 % of it in the kernel" in text
    assert any(line.split() == ["50.0%", "20.00", "relay", "(exchange.py:90)"] for line in text.splitlines())


def test_only_the_top_functions_are_shown() -> None:
    text = Profile.parse(FOLDED).render(Cost(20.0, 5.0), "chunk", top=1)
    assert "relay" in text
    assert "admit" not in text


@pytest.mark.parametrize("line", ["no count at the end", "42", "frame -3", "frame;other 1.5"])
def test_a_line_that_is_no_sample_is_refused(line: str) -> None:
    with pytest.raises(BenchError, match="not a line"):
        Profile.parse(line)


@pytest.mark.parametrize("arguments", [["--pid", "1"], ["--url", "http://127.0.0.1:1/"]])
def test_a_frontend_of_ones_own_needs_both_url_and_pid(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2


def test_the_unit_follows_the_load() -> None:
    assert (unit_of("chat"), unit_of("stream")) == ("request", "chunk")


def test_a_frame_that_could_not_be_read_keeps_its_samples() -> None:
    profile = Profile.parse("run (runners.py:86); 4\n 2\n")
    assert profile.own == {"(unreadable)": 6}
    assert profile.samples == 6
