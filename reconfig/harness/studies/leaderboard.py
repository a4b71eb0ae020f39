"""A trained network as RobustBench (Croce et al., NeurIPS 2021, datasets and benchmarks) takes it.

RobustBench has its own class for networks like ours, ``RobustWideResNet``, whose tensors have the names of
``reconfig.zoo.WideResNet``'s. A folder is laid out as its ``load_model`` and its leaderboard look for files:

    models/cifar10/Linf/NAME.pt             the state dict
    model_info/cifar10/Linf/NAME.json       the model card
    model_zoo_entry.py                      the line for its model zoo
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reconfig import ExportError
from reconfig.harness import files
from reconfig.harness.normalised import Normalised
from reconfig.zoo import WideResNet

DATASETS = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
_THREATS = {"linf": "Linf", "l2": "L2"}
_TEST_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 5_000}  # that its leaderboards are made on


@dataclass(frozen=True)
class Shape:
    """A wide residual network in the arguments of ``RobustWideResNet``."""

    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    classes: int

    @property
    def arguments(self) -> str:
        """The arguments as code. RobustBench's own defaults stand for three stages."""
        text = (
            f"num_classes={self.classes}, channel_configs={[self.stem, *self.widths]}, depth_configs={[*self.depths]}"
        )
        if len(self.widths) != 3:
            strides = [1] + [2] * (len(self.widths) - 1)
            text += f", stride_config={strides}, drop_rate_config={[0.0] * len(self.widths)}"
        return text


@dataclass(frozen=True)
class Credits:
    """What a model card says about where the network comes from."""

    title: str
    authors: str
    venue: str
    link: str


def shape(model: nn.Module) -> Shape:
    """The arguments for which ``RobustWideResNet`` is ``model``.

    Raises:
        ExportError: If there are none.
    """
    needs = "RobustBench's RobustWideResNet needs a wide residual network of reconfig.zoo (wrn28_10, wrn34_10, ...)"
    if not isinstance(model, WideResNet):
        raise ExportError(
            f"{needs}, not {type(model).__name__}; another network has to be added to robustbench's"
            " model_zoo/architectures as a class of its own. --to safetensors takes any network"
        )
    if model.stem_conv.stride != (1, 1):
        raise ExportError(
            f"{needs} whose stem keeps the resolution, and this one's has a stride of {model.stem_conv.stride[0]}:"
            " leave stem_stride out"
        )
    stages: list[Any] = list(model.blocks)
    firsts = [stage.layer[0] for stage in stages]
    found = Shape(
        stem=model.stem_conv.out_channels,
        widths=tuple(first.conv2.out_channels for first in firsts),
        depths=tuple(len(stage.layer) for stage in stages),
        classes=model.fc.out_features,
    )
    for first, before, after in zip(firsts, (found.stem, *found.widths), found.widths, strict=False):
        if before == after and first.convShortcut is not None:
            raise ExportError(
                f"{needs} whose width changes from stage to stage: two are {after} wide one after the other, and there"
                " a residual has a convolution only where the width changes"
            )
    with torch.device("meta"):
        plain = _shapes(WideResNet(found.depths, found.widths, found.stem, found.classes))
    ours = _shapes(model)
    for name in [*ours, *plain]:
        if ours.get(name) != plain.get(name):
            has, wanted = ours.get(name, "missing"), plain.get(name, "missing")
            raise ExportError(f"{needs} with one width a stage: {name} is {has}, and there {wanted}")
    return found


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def card(
    config: Mapping[str, Any],
    scores: Mapping[str, float],
    dataset: str,
    tested: int,
    attacked: int,
    network: Shape,
    credits: Credits,
) -> dict[str, Any]:
    """The model card: a run's setting and scores in RobustBench's fields, accuracies in % as text.

    Without AutoAttack among the scores it has no ``autoattack_acc``, and with fewer test images than the leaderboard's
    a ``footnote`` says so.

    Args:
        config: the run's config.json.
        scores: accuracies in %, by measure.
        dataset: RobustBench's name of it.
        tested: number of test images.
        attacked: number of those that AutoAttack was run on.
        network: what the state dict is loaded into.
        credits: who made it.
    """
    widths, depths = ("-".join(map(str, numbers)) for numbers in (network.widths, network.depths))
    fields = {
        "link": credits.link,
        "name": credits.title,
        "authors": credits.authors,
        "additional_data": bool(config["data"]["extra"]),
        "number_forward_passes": 1,
        "dataset": dataset,
        "venue": credits.venue,
        "architecture": f"WideResNet, {depths} blocks of {widths} channels",
        "eps": _eps(config["threat"]),
        "clean_acc": f"{scores['clean']:.2f}",
    }
    if "aa" in scores:
        fields |= {"reported": f"{scores['aa']:.2f}", "autoattack_acc": f"{scores['aa']:.2f}"}
        if attacked < _TEST_IMAGES[dataset]:
            fields["footnote"] = f"AutoAttack on the first {attacked:,} test images, clean accuracy on {tested:,}."
    return fields | {"unreliable": False}


def _eps(threat: Mapping[str, Any]) -> str:
    """As RobustBench writes it: 8/255 for Linf, 0.5 for L2."""
    eps = Fraction(threat["eps"])
    return f"{float(eps):g}" if threat["norm"] == "l2" else str(eps)


def threat_name(config: Mapping[str, Any]) -> str:
    """RobustBench's name for the run's threat model, which is also a folder's."""
    return _THREATS[config["threat"]["norm"]]


def dataset_name(name: str, classes: int) -> str:
    """RobustBench's name for a run's images.

    Args:
        name: what the run calls them; the first word counts.
        classes: how many classes they have.

    Raises:
        ExportError: If RobustBench has no such images.
    """
    found = name.split()[0].lower().replace("-", "") if name.split() else ""
    if DATASETS.get(found) != classes:
        known = ", ".join(f"{known} ({count} classes)" for known, count in DATASETS.items())
        raise ExportError(
            f"RobustBench has {known}, and this network was trained on {name!r} ({classes} classes);"
            " if the name alone differs, give --dataset"
        )
    return found


def write(
    out: Path, name: str, dataset: str, threat: str, model: nn.Module, network: Shape, card: Mapping[str, Any]
) -> Sequence[Path]:
    """Write state dict, card and model zoo entry of ``model`` into ``out``; the paths of the three.

    Raises:
        ExportError: If one of them exists; nothing is written then.
    """
    weights = out / "models" / dataset / threat / f"{name}.pt"
    about = out / "model_info" / dataset / threat / f"{name}.json"
    entry = out / "model_zoo_entry.py"
    for path in (weights, about, entry):
        if path.exists():
            raise ExportError(f"{path} exists; give another folder, or another --name")
        path.parent.mkdir(parents=True, exist_ok=True)
    made, imported, state = _as_loaded(dataset, model, network)
    files.write(weights, lambda unfinished: torch.save(state, unfinished))
    files.write_json(about, dict(card))
    files.write_text(
        entry,
        f"# For robustbench/model_zoo/{dataset}.py, in the list of ThreatModel.{threat}{imported}\n"
        f'("{name}", {{\n'
        f'    "model": lambda: {made},\n'
        '    "gdrive_id": "",  # of the uploaded state dict; load_model asks for none where it finds the file\n'
        "}),\n",
    )
    return weights, about, entry


def _as_loaded(dataset: str, model: nn.Module, network: Shape) -> tuple[str, str, dict[str, torch.Tensor]]:
    """The code that makes the network, what it imports besides, and the state dict that ``load_model`` fits into it."""
    state = {path: tensor.detach().cpu() for path, tensor in model.state_dict().items()}
    made = f"RobustWideResNet({network.arguments})"
    if not isinstance(model, Normalised):
        return made, "", state
    mean, std = state.pop("mean"), state.pop("std")
    made = f"normalize_model({made}, {tuple(mean.flatten().tolist())}, {tuple(std.flatten().tolist())})"
    imported = "\n# from robustbench.model_zoo.architectures.utils_architectures import normalize_model"
    if dataset == "imagenet":  # there it puts "model." before every name, and takes the numbers from the code
        return made, imported, {path.removeprefix("model."): tensor for path, tensor in state.items()}
    # elsewhere it takes one "model." off
    state = {f"model.{path}": tensor for path, tensor in state.items()}
    return made, imported, {"normalize.mean": mean[None], "normalize.std": std[None], **state}
