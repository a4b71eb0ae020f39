"""What has to hold before a training begins."""

from __future__ import annotations

from collections.abc import Mapping

from reconfig import ReconfigError
from reconfig.harness.experiment import Train


class TrainError(ReconfigError):
    """Training that cannot begin or go on."""


def check_images(train: Train, counts: Mapping[str, int], processes: int) -> None:
    """See that the images (``counts``: how many for each use) do for training.

    They have to make at least one batch, which ``processes`` can share equally, and RST needs extra ones.

    Raises:
        TrainError: If not.
    """
    images = counts["train"]
    if train.method == "rst" and not counts.get("extra"):
        raise TrainError("rst trains on extra images as well; say with --data.extra where they are")
    if train.batch > images:
        raise TrainError(f"train.batch is {train.batch}, but there are only {images} training images")
    if train.batch % processes:
        raise TrainError(f"train.batch is {train.batch}, which {processes} processes cannot share equally")
