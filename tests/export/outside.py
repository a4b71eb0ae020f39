"""Run an exported file where reconfig is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_OURS = ("reconfig", "robust_reconfig", "__editable__", "_robust_reconfig")

_SCRIPT = """
import torch, {name}

try:
    import reconfig
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("reconfig can be imported here: " + reconfig.__file__)
given = torch.load("given.pt", weights_only=True)
network = {name}.load()
with torch.no_grad():
    torch.save([network(*inputs) for inputs in given], "found.pt")
    torch.manual_seed(1)
    network.train()
    torch.save([network(*given[0]), network.state_dict()], "trained.pt")
"""


def packages(folder: Path) -> Path:
    """A folder with everything that is installed here but reconfig; nothing in it leads to other folders."""
    folder.mkdir()
    for place in [path for path in map(Path, sys.path) if path.name == "site-packages"]:
        for item in place.iterdir():
            link = folder / item.name
            if not item.name.startswith(_OURS) and item.suffix != ".pth" and not link.exists():
                link.symlink_to(item)
    return folder


def run_outside(name: str, folder: Path, installed: Path) -> None:
    """Load ``name``.py in ``folder`` in a fresh Python, and run it on given.pt; what it gives lies in found.pt."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ran = subprocess.run(
        [sys.executable, "-S", "-c", _SCRIPT.format(name=name)],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.fspath(installed)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
