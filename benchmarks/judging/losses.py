"""What networks beyond classification are trained on: the losses of the libraries that they come from.

Each takes a network in training mode and examples, makes up targets, and returns the loss of one step. Targets are the
easiest ones of their kind: the first class everywhere, a box in the middle, silence.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.trace.leaves import leaves

Loss = Callable[[nn.Module, Tensor], Tensor]


def mean(model: nn.Module, examples: Tensor) -> Tensor:
    """The mean of every output that has a gradient: for features, and for losses that need a second network."""
    return torch.stack([output.mean() for output in leaves(model(examples), Tensor) if output.requires_grad]).sum()


def cross_entropy(model: nn.Module, examples: Tensor) -> Tensor:
    """Of the class scores."""
    scores = next(leaves(model(examples), Tensor))
    return F.cross_entropy(scores, torch.zeros(len(examples), dtype=torch.long))


def torchvision_segmentation(model: nn.Module, images: Tensor) -> Tensor:
    """As torchvision's reference script: cross-entropy, that of the auxiliary head times 0.5."""
    losses = {
        name: F.cross_entropy(scores, _class_map(images), ignore_index=255) for name, scores in model(images).items()
    }
    return losses["out"] + 0.5 * losses["aux"] if "aux" in losses else losses["out"]


def torchvision_detection(model: nn.Module, images: Tensor) -> Tensor:
    """The sum of the losses that a detector returns in training mode, given boxes (masks, keypoints)."""
    losses: dict[str, Tensor] = model(list(images), [_target(image) for image in images])
    return torch.stack(list(losses.values())).sum()


def _target(image: Tensor) -> dict[str, Tensor]:
    height, width = image.shape[-2:]
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    return {
        "boxes": torch.tensor([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]]),
        "labels": torch.tensor([1]),
        "masks": mask,
        "keypoints": torch.tensor([width / 2, height / 2, 1.0]).expand(1, 17, 3),
    }


def smp_dice(model: nn.Module, images: Tensor) -> Tensor:
    """segmentation_models_pytorch's Dice loss."""
    from segmentation_models_pytorch.losses import DiceLoss

    return DiceLoss("multiclass")(model(images), _class_map(images))


def transformers_labels(model: nn.Module, inputs: Tensor) -> Tensor:
    """The loss that a network of transformers returns beside its scores, given labels."""
    return model(inputs, labels=torch.zeros(len(inputs), dtype=torch.long)).loss


def transformers_segmentation(model: nn.Module, images: Tensor) -> Tensor:
    """The same, given a class for every pixel."""
    return model(images, labels=_class_map(images)).loss


def monai_dice(model: nn.Module, images: Tensor) -> Tensor:
    """Monai's Dice and cross-entropy loss, over all outputs where a network supervises deeply."""
    from monai.losses.dice import DiceCELoss
    from monai.losses.ds_loss import DeepSupervisionLoss

    returned = model(images)
    if isinstance(returned, Tensor) and returned.dim() == images.dim() + 1:  # DynUNet stacks its outputs
        returned = list(returned.unbind(1))
    outputs = list(leaves(returned, Tensor))
    target = torch.zeros(len(images), 1, *outputs[0].shape[2:])
    return DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))(outputs, target)


def monai_vae(model: nn.Module, images: Tensor) -> Tensor:
    """Monai's Dice loss, and the loss of the autoencoder that SegResNetVAE returns in training mode."""
    from monai.losses.dice import DiceCELoss

    scores, loss = model(images)
    return DiceCELoss(to_onehot_y=True, softmax=True)(scores, torch.zeros(len(images), 1, *scores.shape[2:])) + loss


def l1(model: nn.Module, examples: Tensor) -> Tensor:
    """The mean absolute difference from silence, or from a black image, over what the network returns."""
    outputs = [output for output in leaves(model(examples), Tensor) if output.requires_grad]
    return torch.stack([F.l1_loss(output, torch.zeros_like(output)) for output in outputs]).sum()


def ctc(model: nn.Module, waves: Tensor) -> Tensor:
    """Connectionist temporal classification of (batch, letters, time)."""
    scores = model(waves).permute(2, 0, 1)
    number, batch = scores.shape[:2]
    targets = torch.ones(batch, 1, dtype=torch.long)
    return F.ctc_loss(scores.log_softmax(-1), targets, torch.full((batch,), number), torch.ones(batch).long())


def _class_map(images: Tensor) -> Tensor:
    """The first class for every pixel."""
    return torch.zeros(len(images), *images.shape[2:], dtype=torch.long)


LOSSES: dict[str, Loss] = {
    "mean": mean,
    "cross entropy": cross_entropy,
    "l1": l1,
    "ctc": ctc,
    "torchvision segmentation": torchvision_segmentation,
    "torchvision detection": torchvision_detection,
    "smp dice": smp_dice,
    "transformers labels": transformers_labels,
    "transformers segmentation": transformers_segmentation,
    "monai dice": monai_dice,
    "monai vae": monai_vae,
}
