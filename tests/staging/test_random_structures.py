"""The stages of random networks of each structure are those that they were built of, and a rule scales the last one."""

from __future__ import annotations

from collections.abc import Callable

import drawn
import pytest
from hypothesis import given, strategies as st
from random_structures import STRUCTURES, Draw, stages_are_those_built
from torch import nn

quick = drawn.quick(2)
thorough = drawn.thorough(500)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
@quick
@given(data=st.data())
def test_a_few(structure: Callable[[Draw], tuple[nn.Module, list[int]]], data: st.DataObject) -> None:
    stages_are_those_built(structure, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
@thorough
@given(data=st.data())
def test_many(structure: Callable[[Draw], tuple[nn.Module, list[int]]], data: st.DataObject) -> None:
    stages_are_those_built(structure, data)
