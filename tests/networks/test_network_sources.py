"""Networks from each source, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

from reconfig import networks
from reconfig.errors import NetworkError

FACTORY = "def net(width=1):\n    return {}\n"
LINEAR = "from torch import nn\n" + FACTORY.format("nn.Linear({})")


def refused(name: str) -> str:
    with pytest.raises(NetworkError) as caught:
        networks.build(name)
    return str(caught.value)


def test_zoo() -> None:
    model = networks.build("zoo:vgg11?num_classes=7")
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    assert refused("zoo:vgg") == (
        "reconfig.zoo has no network 'vgg'; the nearest are vgg19, vgg16, vgg13: write 'zoo:vgg19'"
    )
    assert refused("zoo:VGG_11").endswith("write 'zoo:vgg11'")
    assert refused("zoo:zzzzzz").startswith("reconfig.zoo has no network 'zzzzzz'; it has darts, densenet121, ")


def test_timm() -> None:
    pytest.importorskip("timm")
    model = networks.build("timm:convnext_atto?num_classes=7&depths=[1,1,1,1]&dims=(8,8,16,16)")
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    assert type(networks.build("timm:resnet10t.c3_in1k")).__name__ == "ResNet"
    assert refused("timm:resnet_18?num_classes=7") == (
        "timm has no network 'resnet_18'; the nearest are resnet18, resnetv2_18, resnet18d: "
        "write 'timm:resnet18?num_classes=7'"
    )
    assert refused("timm:resnet18.nope").startswith(
        "timm has no weights of resnet18 called 'resnet18.nope'; the nearest are resnet18, resnet18."
    )
    assert refused("timm:resnet18?num_clases=7") == (
        "timm:resnet18 takes no argument 'num_clases'; the nearest are num_classes, norm_layer: "
        "write 'timm:resnet18?num_classes=7'"
    )


def test_torchvision() -> None:
    pytest.importorskip("torchvision")
    model = networks.build("torchvision:squeezenet1_1?num_classes=7")
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 7)
    message = refused("torchvision:resnet8")  # a plug-in may have given torchvision more names
    assert message.startswith("torchvision has no network 'resnet8'; the nearest are resnet18, resnet")
    assert message.endswith(": write 'torchvision:resnet18'")
    assert refused("torchvision:resnet18?num_clases=3").endswith("write 'torchvision:resnet18?num_classes=3'")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_there(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert refused(f"{library}:resnet18") == f"{library} is not installed: pip install 'robust-reconfig[{library}]'"


def test_a_library_that_lacks_something(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "timm.py").write_text("import not_there_at_all")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(folder)
    assert refused("timm:resnet18") == (
        "timm cannot be imported: No module named 'not_there_at_all'; pip install not_there_at_all"
    )


def test_a_module(folder: Path) -> None:
    assert type(networks.build("nets:Net")).__name__ == "Net"
    assert type(networks.build("nets:Net.Inner")).__name__ == "Inner"
    assert isinstance(networks.build("torch.nn:Conv2d?in_channels=3&out_channels=8&kernel_size=(3,1)"), nn.Conv2d)
    assert refused("nets:Nett?width=4") == "nets has no 'Nett'; the nearest are Net: write 'nets:Net?width=4'"
    assert refused("nets:number") == (
        "nets:number is int and cannot be called: name a class or a function that makes a network"
    )
    assert refused("nets:made") == (
        "nets:made is a network already, not what makes one: name its class or a function that returns it, as in "
        "nets:Net"
    )
    assert refused("nets:convolution").endswith("name its class or a function that returns it")


def test_a_file(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "helping.py").write_text("WIDTH = 12\n")
    (folder / "inner" / "net.py").write_text(f"import helping, nets\n{FACTORY.format('nets.Net(helping.WIDTH)')}")
    (folder / "inner" / "nets.py").write_text((folder / "nets.py").read_text())
    before = list(sys.path)
    model = networks.build(f"{folder / 'inner' / 'net.py'}:net")
    assert model.conv.out_channels == 12  # type: ignore[union-attr]
    assert sys.path == before
    assert networks.build("inner/net.py:net").conv.out_channels == 12  # type: ignore[union-attr]


def test_files_of_one_name_are_kept_apart(folder: Path) -> None:
    for number in (1, 2):
        (folder / str(number)).mkdir()
        (folder / str(number) / "net.py").write_text(LINEAR.format(f"1, {number}"))
    made = [networks.build(f"{number}/net.py:net") for number in (1, 2, 1)]
    assert [model.out_features for model in made] == [1, 2, 1]


def test_a_file_in_a_package(folder: Path) -> None:
    (folder / "package" / "models").mkdir(parents=True)
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "models" / "__init__.py").touch()
    (folder / "package" / "layers.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    (folder / "package" / "models" / "net.py").write_text(
        "from ..layers import Layer\n" + FACTORY.format("Layer(1, 2)")
    )
    assert isinstance(networks.build("package/models/net.py:net"), nn.Linear)
    assert isinstance(networks.build("package.models.net:net"), nn.Linear)
    assert refused("package.model.net:net") == (
        "no module 'package.model' for 'package.model.net:net': write 'package.models.net:net'"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tim:resnet18?a=7", "no module 'tim' for 'tim:resnet18?a=7': write 'timm:resnet18?a=7'"),
        ("netz:Net", "no module 'netz' for 'netz:Net': write 'nets:Net'"),
        (
            "zzzzzz.models:Net",
            "no module 'zzzzzz' for 'zzzzzz.models:Net': install what has zzzzzz, run from its folder, or name a file, "
            "as in path/to/file.py:Net",
        ),
        ("netts.py:Net", "there is no file netts.py: the nearest is nets.py"),
        ("zzzzzz/zzzzzz.py:Net", "there is no file zzzzzz/zzzzzz.py: a network reads like folder/file.py:Net"),
    ],
)
def test_a_module_or_file_that_is_not_there(name: str, message: str, folder: Path) -> None:
    assert refused(name) == message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero at bad.py:1"),
        ("\ndef f(:", "SyntaxError: invalid syntax (bad.py, line 2)"),
        ("import lacking", "ModuleNotFoundError: No module named 'lacking' at bad.py:1; pip install lacking"),
        (
            "import sys\nsys.exit('usage: bad')",
            "it ends the program (SystemExit: usage: bad) at bad.py:2; put what it does as a script under "
            "`if __name__ == '__main__':`",
        ),
    ],
)
def test_a_module_that_cannot_be_imported(code: str, message: str, folder: Path) -> None:
    (folder / "bad.py").write_text(code)
    for name in ("bad.py:net", "bad:net"):
        assert refused(name) == f"{name.removesuffix(':net')} cannot be imported: {message}"
        assert "bad" not in sys.modules
    (folder / "bad.py").write_text(LINEAR.format("1, 1"))
    assert isinstance(networks.build("bad.py:net"), nn.Linear)


def test_a_hub_in_a_folder(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "hubconf.py").write_text(LINEAR.format("1, width"))
    assert networks.build("hub:models:net?width=3").out_features == 3
    assert refused("hub:models:nett").endswith(": write 'models/hubconf.py:net'")
    assert refused("hub:zzz:net") == (
        "'zzz' in 'hub:zzz:net' is neither owner/repo nor a folder with a hubconf.py: write hub:owner/repo:name or "
        "hub:folder:name"
    )
    assert refused(f"hub:{folder}:net").startswith(f"'{folder}' in 'hub:{folder}:net' has no hubconf.py: write ")


def test_a_hub_that_was_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder / "hub"))
    assert refused("hub:owner/repo:net").startswith("cannot read hubconf.py of owner/repo: RuntimeError: ")
    assert refused("hub:owner/repo:net").endswith("; see that torch.hub.list('owner/repo') works")
    (folder / "hub" / "owner_repo_main").mkdir(parents=True)
    (folder / "hub" / "trusted_list").write_text("owner_repo\n")
    hubconf = folder / "hub" / "owner_repo_main" / "hubconf.py"
    hubconf.write_text(LINEAR.format("1, width"))
    assert networks.build("hub:owner/repo:net?width=3").out_features == 3
    assert refused("hub:owner/repo:nett?width=3") == (
        "owner/repo has no network 'nett'; the nearest are net: write 'hub:owner/repo:net?width=3'"
    )
