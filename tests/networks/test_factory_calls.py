"""A factory called with a name's arguments, and what is said where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconfig import networks
from reconfig.errors import NetworkError
from reconfig.networks import NetworkName


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Net?widht=4", "nets.py:Net takes no argument 'widht'; the nearest are width: write 'nets.py:Net?width=4'"),
        ("Net?q=4", "nets.py:Net takes no argument 'q'; it takes classes, width"),
        ("needs", "nets.py:needs needs depth, width: write 'nets.py:needs?width=...&depth=...'"),
        ("needs?width=3", "nets.py:needs?width=3 needs depth: write 'nets.py:needs?width=3&depth=...'"),
        (
            "hands_on?widht=4&classes=3",
            "nets.py:hands_on takes no argument 'widht'; the nearest are width: "
            "write 'nets.py:hands_on?width=4&classes=3'",
        ),
        (
            "linear?in_feature=3&out_features=1",
            "nets.py:linear takes no argument 'in_feature'; the nearest are in_features, out_features: "
            "write 'nets.py:linear?in_features=3&out_features=1'",
        ),
        ("opaque?width=1", "nets.py:opaque takes no argument 'width': leave it out"),
        ("broken", "nets.py:broken cannot be built: RuntimeError: no such width at nets.py:16"),
        ("nothing", "nets.py:nothing gives NoneType, not a torch.nn.Module: name what makes the network itself"),
        (
            "ends",
            "nets.py:ends cannot be built: it ends the program (SystemExit: usage: nets) at nets.py:40; put what it "
            "does as a script under `if __name__ == '__main__':`",
        ),
    ],
)
def test_what_does_not_fit_says_so(name: str, message: str, folder: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        networks.build(f"nets.py:{name}")
    assert str(caught.value) == message


def test_an_error_names_the_users_line_and_the_innermost(folder: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        networks.build("nets.py:deep")
    first, _, innermost = str(caught.value).partition(", in torch/nn/modules/conv.py:")
    assert first == "nets.py:deep cannot be built: ValueError: in_channels must be divisible by groups at nets.py:20"
    assert innermost.isdecimal()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_file_from_elsewhere_is_named_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    with pytest.raises(NetworkError, match=r"no such width at /.*/nets\.py:16$"):
        networks.build(f"{folder}/nets.py:broken")


def test_arguments_reach_the_factory(folder: Path) -> None:
    model = networks.build("nets.py:hands_on?width=4&classes=3")
    assert (model.conv.out_channels, model.classes) == (4, 3)  # type: ignore[union-attr]
    same = networks.build(NetworkName("nets.py", "hands_on", {"width": 4, "classes": 3}))
    assert same.state_dict().keys() == model.state_dict().keys()
