"""The normalisation that an experiment asks for."""

from __future__ import annotations

import pytest
import torch
from helpers.small_training import small_split

from reconfig.harness.data import moments
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.moments import normalisation
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError
from reconfig.harness.normalised import KNOWN, Moments


def dataset(train: Split) -> Dataset:
    return Dataset("colours", 3, train, small_split(6, 1))


def test_what_is_not_asked_for_is_not_there() -> None:
    assert normalisation(Data(), dataset(small_split(9))) is None
    assert normalisation(Data(normalise="imagenet"), dataset(small_split(9))) == KNOWN["imagenet"]
    own = Data(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert normalisation(own, dataset(small_split(9))) == Moments((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_it_is_measured_on_the_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    split = small_split(90)
    found = normalisation(Data(normalise="data"), dataset(split))
    assert found is not None
    pixels = split.images.double().div(255).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.tensor(found.mean), pixels.mean(1).float())
    torch.testing.assert_close(torch.tensor(found.std), pixels.std(1, correction=0).float())
    monkeypatch.setattr(moments, "_PART", 7)
    assert normalisation(Data(normalise="data"), dataset(split)) == found
    monkeypatch.setattr(moments, "_MEASURED", 45)
    part = normalisation(Data(normalise="data"), dataset(split))
    assert part == normalisation(Data(normalise="data"), dataset(split[::2]))  # evenly out of all


def test_a_channel_that_never_changes_is_named() -> None:
    split = small_split(9)
    split.images[:, 1] = 7
    with pytest.raises(DataError, match=r"channel 1 of the training images of colours never changes"):
        normalisation(Data(normalise="data"), dataset(split))


def test_other_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"has 1 means and 1 standard deviations, and the images of colours have 3"):
        normalisation(Data(mean=(0.5,), std=(0.5,)), dataset(small_split(9)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (0.5,)}, r"data\.mean and data\.std go together: give both, as in --data\.mean 0\.485"),
        ({"mean": (0.5,), "std": (0.0,)}, r"data\.std is what images are divided by, so above 0, not \(0\.0,\)"),
        ({"mean": (0.5,), "std": ()}, r"data\.std is what images are divided by"),
        (
            {"normalise": "imagenet", "mean": (0.5,), "std": (0.5,)},
            r"data\.normalise imagenet and data\.mean both say how to normalise; leave one of them out",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data(**fields)  # type: ignore[arg-type]
