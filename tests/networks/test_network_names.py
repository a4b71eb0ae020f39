"""A network's name as text and as data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from reconfig.errors import NetworkError
from reconfig.networks import NetworkName

EXAMPLE = "a network reads like timm:resnet50, 'zoo:wrn?depth=28&widen=4', package.module:Factory or file.py:Net"
ARGUMENTS = "arguments read like ?depth=28&widen=4, with %26 for an & in a value"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("timm:resnet50", NetworkName("timm", "resnet50")),
        ("timm:hf-hub:timm/resnet18.a1_in1k", NetworkName("timm", "hf-hub:timm/resnet18.a1_in1k")),
        ("zoo:wrn?depth=28&widen=4", NetworkName("zoo", "wrn", {"depth": 28, "widen": 4})),
        ("models.resnet:ResNet18", NetworkName("models.resnet", "ResNet18")),
        ("models/resnet.py:Net.small", NetworkName("models/resnet.py", "Net.small")),
        ("C:\\nets\\net.py:Net", NetworkName("C:\\nets\\net.py", "Net")),
        ("hub:owner/repo:resnet", NetworkName("hub", "owner/repo:resnet")),
        ("hub:owner/repo:v1.0:resnet", NetworkName("hub", "owner/repo:v1.0:resnet")),
    ],
)
def test_a_name_reads_and_shows_as_it_was(text: str, name: NetworkName) -> None:
    assert NetworkName.parse(text) == name
    assert str(name) == text
    assert hash(name) == hash(NetworkName.parse(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("28", 28),
        ("2.5", 2.5),
        ("1e-3", 1e-3),
        ("True", True),
        ("true", True),
        ("None", None),
        ("null", None),
        ("avg", "avg"),
        ("'28'", "28"),
        ("", ""),
        ("[3,4]", [3, 4]),
        ("(3,4)", (3, 4)),
        ("{'a':1}", {"a": 1}),
        ('{"a":true}', {"a": True}),
        ("a=b", "a=b"),
        ("a%26b%25", "a&b%"),
        ("NaN", "NaN"),
    ],
)
def test_a_value_is_a_literal_or_text(text: str, value: object) -> None:
    read = NetworkName.parse(f"zoo:vgg11?key={text}").arguments["key"]
    assert read == value
    assert type(read) is type(value)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=3,
)


@settings(max_examples=40, deadline=None)
@example("%26")
@example(["a&b"])
@given(LITERALS)
def test_any_literal_survives_its_text(value: Any) -> None:
    name = NetworkName("zoo", "wrn", {"depth": value, "widen": 1})
    assert NetworkName.parse(str(name)) == name


def test_arguments_cannot_be_changed() -> None:
    given_ = {"depth": 28}
    name = NetworkName("zoo", "wrn", given_)
    given_["depth"] = 34
    assert name.arguments == {"depth": 28}
    with pytest.raises(TypeError):
        name.arguments["depth"] = 34  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"'' names no network: {EXAMPLE}"),
        (":", f"':' names no network: {EXAMPLE}"),
        ("vgg", f"'vgg' does not say where vgg comes from: write timm:vgg or zoo:vgg; {EXAMPLE}"),
        ("zoo", f"'zoo' does not say which network of zoo: write zoo:NAME; {EXAMPLE}"),
        ("zoo:", f"'zoo:' does not say which network of zoo: write zoo:NAME; {EXAMPLE}"),
        ("package:", f"'package:' does not say which network of package: write package:NAME; {EXAMPLE}"),
        ("net.py", "'net.py' does not say what to call in the file: write net.py:Net"),
        ("net.py:", "'net.py:' does not say what to call in the file: write net.py:Net"),
        ("hub:a/b", "'hub:a/b' does not say which network of the repository: write hub:owner/repo:name"),
        ("hub:a/b:", "'hub:a/b:' does not say which network of the repository: write hub:owner/repo:name"),
        ("zoo:wrn?depth", f"'depth' in 'zoo:wrn?depth' is no argument: {ARGUMENTS}"),
        ("zoo:wrn?a-b=3", f"'a-b=3' in 'zoo:wrn?a-b=3' is no argument: {ARGUMENTS}"),
        ("zoo:wrn?depth=1&depth=2", "'zoo:wrn?depth=1&depth=2' gives depth twice: leave one out"),
    ],
)
def test_what_is_no_name_says_how_it_is_written(text: str, message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        NetworkName.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a b": 1}, "'a b' is no name of an argument, as depth is in 'zoo:wrn?depth=28&widen=4'"),
        (
            {"act": print},
            "act=<built-in function print> cannot be spelled: an argument is a number, boolean, None, text, or a list, "
            "tuple or dict of these",
        ),
    ],
)
def test_an_argument_that_cannot_be_spelled(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        NetworkName("zoo", "wrn", arguments)
    assert str(caught.value) == message
