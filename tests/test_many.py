"""The run of many random networks: its parts, what a killed run keeps, and that it finds what is broken."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import many
import pytest
from hypothesis import strategies as st
from many import Ended, Part, examine, held, parts, summary

import reconfig


def test_ten_thousand_have_500_of_each_structure() -> None:
    found = list(parts(10_000))
    assert len(found) == len(set(found)) == 10_000 // many.EACH
    kinds = [part.kind for part in found]
    assert {kind: kinds.count(kind) * many.EACH for kind in set(kinds) - {"of any pieces"}} == dict.fromkeys(
        list(many.KINDS)[:-1], many.STRUCTURED
    )


def test_what_a_kill_cut_short_has_not_ended(tmp_path: Path) -> None:
    path, ended = tmp_path / "many.jsonl", Ended("pools", 3, 50, 9.5)
    assert held(path) == []
    line = json.dumps(asdict(ended))
    path.write_text(f"{line}\n{line[:-9]}")
    assert held(path) == [ended]


def test_what_is_broken_is_found_and_told_from_what_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: st.DataObject) -> None:
        number = data.draw(st.integers(0, 1000))
        assert number != 0
        if number > 500:
            raise KeyError(number)
        if number > 250:
            raise reconfig.VerifyError("does not run as planned")

    monkeypatch.setitem(many.KINDS, "numbers", check)
    ended = examine(Part("numbers", 1))
    again = examine(Part("numbers", 1))
    assert (ended.broken, ended.unnamed) == (again.broken, again.unnamed)
    assert ended.networks >= many.EACH
    assert "KeyError" in ended.unnamed[0]
    assert {text.splitlines()[-1].partition(":")[0] for text in ended.broken} == {
        "AssertionError",
        "reconfig.errors.VerifyError",
    }
    assert f"| numbers | {ended.networks} | {len(ended.broken)} | {len(ended.unnamed)} |" in summary([ended])
