"""Plug-ins and the libraries that they are for stay away from who did not ask for them."""

from __future__ import annotations

import subprocess
import sys

LIBRARIES = (
    "timm",
    "torchvision",
    "segmentation_models_pytorch",
    "lightning",
    "pytorch_lightning",
    "transformers",
    "mmengine",
    "ultralytics",
)


def imported(code: str) -> set[str]:
    """Which of the libraries, and of the plug-ins, a new process has imported after ``code``."""
    show = f"{code}; import sys; print(*[name for name in sys.modules if name.startswith({LIBRARIES!r})])"
    found = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in found.stdout.split()}


def test_the_core_imports_no_library_and_no_plugin() -> None:
    assert imported("import reconfig; reconfig.apply(reconfig.zoo.vgg11())") == set()
    assert imported("import reconfig.plugins.request, reconfig.plugins.parts, reconfig.plugins.callback") == set()
    code = (
        "import sys, reconfig; reconfig.apply(reconfig.zoo.vgg11()); "
        "print([name for name in sys.modules if name.startswith('reconfig.plugins')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
