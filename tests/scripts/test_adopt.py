"""A network takes on the rewritten one's state where it stands."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import nn

import reconfig
from reconfig.scripts.adopt import adopt, adopted
from reconfig.scripts.identity import ByIdentity


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()
        )
        self.head = nn.Linear(32, 10)
        self.chosen = self.plain  # a method of its own, as some networks keep

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return self.head(self.features(x).mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.chosen(x)


def rewritten() -> tuple[Net, nn.Module]:
    net = Net().eval()
    features = net.features
    adopt(net, reconfig.plan(net, "10-5").apply(net), "10-5, gamma 1")
    return net, features


def test_whoever_holds_the_network_or_a_part_holds_the_new_one() -> None:
    net, features = rewritten()
    image = torch.rand(2, 3, 16, 16)
    assert net.head.in_features == 16
    assert net(image).shape == (2, 10)
    assert features(image).shape[1] == 16
    assert [id(p) for p in features.parameters()] == [id(p) for p in net.features.parameters()]
    features.train()
    assert net.features.training
    assert net.features[1].training
    net.eval()
    assert not features.training
    net.double()
    assert net(image.double()).dtype == torch.float64  # also through the method that it keeps


def test_hooks_stay_and_can_be_removed() -> None:
    net, seen = Net().eval(), []
    handle = net.features.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    with_kwargs = net.register_forward_hook(lambda module, args, kwargs, output: seen.append(0), with_kwargs=True)
    adopt(net, reconfig.plan(net, "10-5").apply(net), "")
    net(torch.rand(1, 3, 16, 16))
    assert seen == [16, 0]
    handle.remove()
    with_kwargs.remove()
    net(torch.rand(1, 3, 16, 16))
    assert seen == [16, 0]


def test_the_mark_is_in_copies_and_pickles() -> None:
    net, _ = rewritten()
    assert adopted(Net()) is None
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert adopted(same) == "10-5, gamma 1"
        assert same.head.in_features == 16
    assert list(net.state_dict()) == list(Net().state_dict())


def test_what_holds_notes_keeps_nothing_alive() -> None:
    notes: ByIdentity[str] = ByIdentity()
    net = nn.ReLU()
    notes[net] = "first"
    notes[net] = "second"
    assert (notes.get(net), net in notes) == ("second", True)
    del net
    assert vars(notes) == {"_notes": {}}
