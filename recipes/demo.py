"""The whole job in miniature, on images that come with scikit-learn."""

from __future__ import annotations

from reconfig.harness import Compute, Data, Experiment, Network, Train


def demo() -> Experiment:
    """VGG-11 against VGG-11-R at a quarter of the width, on scikit-learn's digits: minutes on a laptop."""
    return Experiment(
        original=Network("zoo:vgg11", rule="10-10-10", gamma=0.25),
        variant=Network("zoo:vgg11", rule="10-10-4", gamma=0.25),
        # A mirrored digit is no digit, and 1,437 training images spare only a few.
        data=Data(path="digits", hold_out=100, flip=False),
        train=Train(epochs=4, batch=64, lr=0.05),
        compute=Compute(channels_last=True),  # a third less time on a CPU at this width
    )
