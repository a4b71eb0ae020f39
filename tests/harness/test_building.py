"""A network by any of its names, built for the classes and the size of images."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import own_networks

from reconfig.errors import NetworkError
from reconfig.harness.building import build, for_classes, skeleton
from reconfig.harness.network import Network, short, whole
from reconfig.harness.source_code import code_of

SHAPE = (3, 16, 16)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of ``own_networks``; what it brings into Python goes with it."""
    monkeypatch.delitem(sys.modules, "layers", raising=False)
    yield own_networks.write(tmp_path / "my nets")
    for name in [name for name in sys.modules if name.startswith(("own_net", "layers"))]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["Net", "Computing", "handed"])
def test_a_file_s_network_is_given_the_classes_of_the_data(own: Path, name: str) -> None:
    built = build(f"{own}:{name}", 5)
    assert built(torch.rand(2, *SHAPE)).shape == (2, 5)
    assert skeleton(f"{own}:{name}", 5, SHAPE).training


@pytest.mark.parametrize(
    "model", ["timm:resnet10t", "torchvision:mobilenet_v2", "zoo:vgg11", "zoo:wrn?depth=10&widen=1"]
)
def test_a_library_s_network_is_given_the_classes_of_the_data(model: str) -> None:
    pytest.importorskip("timm")
    built = skeleton(model, 7, (3, 32, 32))
    assert {parameter.device.type for parameter in built.parameters()} == {"meta"}
    assert str(for_classes(model, 7)).endswith("num_classes=7")


def test_a_factory_that_takes_no_classes_is_taken_as_it_is(own: Path) -> None:
    for name in ("Fixed", "refusing"):
        assert build(f"{own}:{name}?width=4", 10)(torch.rand(2, *SHAPE)).shape == (2, 10)
        skeleton(f"{own}:{name}?width=4", 10, SHAPE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Fixed",
            r"Fixed answers with \[N, 10\], and the data has 5 classes, .* takes no num_classes but width: give it",
        ),
        ("Named", r"answers with \[N, 7\].*; write '.*own_net\.py:Named\?n_classes=5'$"),
        ("Net?num_classes=3", r"answers with \[N, 3\].*; leave num_classes out, and it is given the data's$"),
        ("Pair", r"Pair answers with a tuple in eval mode, and one tensor \[N, classes\] is needed"),
        ("Gone", r"own_net\.py has no 'Gone'"),
        ("Net?wide=3", r"takes no argument 'wide'; the nearest are width: write '.*own_net\.py:Net\?width=3"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(own: Path, name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        skeleton(f"{own}:{name}", 5, SHAPE)


def test_images_that_a_network_does_not_take_are_named() -> None:
    with pytest.raises(
        NetworkError, match=r"zoo:vgg11 does not take images of 8x8 pixels and 3 channels: RuntimeError: "
    ):
        skeleton("zoo:vgg11", 10, (3, 8, 8))


def test_an_auxiliary_head_is_found_before_training() -> None:
    message = r"answers with a GoogLeNetOutputs while it is trained.*torchvision:googlenet\?aux_logits=False"
    with pytest.raises(NetworkError, match=message):
        skeleton("torchvision:googlenet?init_weights=False", 10, (3, 96, 96))


@pytest.mark.parametrize("package", [False, True])
def test_the_code_of_a_network_is_its_file_and_what_it_imports_there(
    own: Path, package: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"{own}:Net"
    if package:  # the same as a package, by its module's name
        own.parent.joinpath("__init__.py").write_text("")
        own.write_text(own.read_text().replace("from layers", "from .layers"))
        own.parent.rename(own.parents[1] / "packaged")
        own = own.parents[1] / "packaged" / own.name
        monkeypatch.chdir(own.parents[1])
        model = "packaged.own_net:Net"
        assert code_of(model) == code_of(f"{own}:Net")
    before = code_of(model)
    assert before is not None
    own.with_name("unrelated.py").write_text("1")
    assert code_of(model) == before
    for path in (own, own.with_name("layers.py")):
        kept = path.read_text()
        path.write_text(kept + "\n# another line\n")
        assert code_of(model) != before
        path.write_text(kept)
    assert code_of(model) == before


@pytest.mark.parametrize("model", ["zoo:vgg11", "timm:resnet10t", "torch.nn:Identity", "json:JSONDecoder"])
def test_the_code_of_libraries_is_not_looked_at(model: str) -> None:
    assert code_of(model) is None


def test_a_file_is_found_again_from_any_folder(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    network = Network("own_net.py:Net?width=4", "10-4")
    assert network.model == f"{own}:Net?width=4"
    assert network.name == "own_net.py:Net?width=4 10-4"
    monkeypatch.chdir("/")
    assert Network(network.model, "10-4") == network
    assert (whole("timm:resnet10t"), short("timm:resnet10t")) == ("timm:resnet10t", "timm:resnet10t")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vgg11", "'vgg11' does not say where vgg11 comes from: write timm:vgg11 or zoo:vgg11"),
        ("", "'' names no network"),
    ],
)
def test_a_name_that_names_nothing_is_refused_where_it_is_written(model: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        Network(model)
