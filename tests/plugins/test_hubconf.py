"""torch.hub on this repository as a folder, which is what it makes of one on GitHub too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reconfig
from reconfig import zoo
from reconfig.errors import NetworkError, RuleError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This folder where torch.hub keeps what it fetched from GitHub."""
    hub = tmp_path / "hub"
    hub.mkdir()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(hub))
    (hub / "owner_reconfig_main").symlink_to(ROOT)
    return "owner/reconfig:main"


def load(name: str, *args: Any, **kwargs: Any) -> Any:
    return torch.hub.load(str(ROOT), name, *args, source="local", **kwargs)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_its_entries_are_the_networks_alone(repository: str) -> None:
    found = torch.hub.list(repository, trust_repo=True, verbose=False)
    assert found == ["darts_r", "densenet121_r", "variant", "vgg11_r", "wrn34_r"]
    assert "zoo:wrn?depth=28&widen=4" in torch.hub.help(repository, "variant", trust_repo=True)
    assert count(torch.hub.load(repository, "vgg11_r", trust_repo=True, verbose=False, num_classes=4)) == 5_829_239


def test_it_needs_what_the_package_needs() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    folder: Any = torch.hub._import_module("hubconf", str(ROOT / "hubconf.py"))
    assert folder.dependencies == [need.partition(">")[0] for need in needs]


@pytest.mark.parametrize(
    ("name", "parameters"), [("vgg11_r", 5_830_475), ("densenet121_r", 5_999_686), ("darts_r", 2_526_970)]
)
def test_the_papers_networks(name: str, parameters: int) -> None:
    assert count(load(name)) == parameters


@pytest.mark.slow
def test_the_papers_largest_network() -> None:
    assert count(load("wrn34_r")) == 68_116_698


def test_any_network_by_its_name() -> None:
    made = load("variant", "zoo:wrn?depth=10&widen=1", "10-10-5", gamma=2, weights="inherit")
    expected = reconfig.apply(zoo.wrn(depth=10, widen=1), "10-10-5", gamma=2)
    assert [p.shape for p in made.parameters()] == [p.shape for p in expected.parameters()]
    made.train()(torch.rand(2, 3, 32, 32)).sum().backward()


@pytest.mark.slow
def test_a_folder_that_is_installed_nowhere(tmp_path: Path) -> None:
    """As from GitHub: the package comes from beside hubconf.py."""
    for name in ("hubconf.py", "reconfig"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path)], check=True)
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]; sys.meta_path[:] = [m for m in "
        "sys.meta_path if 'editable' not in str(m).lower()]; import torch; "
        f"made = torch.hub.load({str(tmp_path)!r}, 'variant', 'zoo:vgg11', source='local'); "
        "import reconfig; print(reconfig.__file__, sum(p.numel() for p in made.parameters()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert found.stdout.split() == [str(tmp_path / "reconfig" / "__init__.py"), "5830475"]


def test_bad_input_is_named() -> None:
    with pytest.raises(NetworkError, match=r"write 'zoo:vgg11'"):
        load("variant", "zoo:vgg111")
    with pytest.raises(TypeError, match=r"variant takes no 'gama': write gamma=\.\.\."):
        load("variant", "zoo:vgg11", gama=2)
    with pytest.raises(RuleError, match="a rule reads like"):
        load("variant", "zoo:vgg11", "ten")
