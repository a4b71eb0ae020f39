from __future__ import annotations

import collections
import math
from collections.abc import Callable

import pytest
import torch
from fvcore.nn import parameter_count
from torch import nn

import reconfig
from reconfig import zoo
from reconfig.zoo.darts import OPERATIONS, drop_path

# The published figures: the papers' repositories for their families (to the digits that they print), and what the
# widespread CIFAR implementations of the others count.
PARAMETERS = {
    "vgg11": 9_231_114,
    "vgg13": 9_416_010,
    "vgg16": 14_728_266,
    "vgg19": 20_040_522,
    "densenet121": 6_956_298,
    "darts": 6_579_118,
    "wrn28_10": 36_479_194,
    "wrn34_10": 46_160_474,
    "wrn34_12": 66_457_818,
    "wrn46_14": 128_389_210,
    "wrn70_16": 266_796_506,
    "robustresnet_a1": 19_222_738,
    "robustresnet_a2": 39_033_982,
    "robustresnet_a3": 75_856_698,
    "robustresnet_a4": 147_262_458,
    "rawrn70_16": 267_240_802,
    "resnet18": 11_173_962,
    "preactresnet18": 11_171_146,
}
DEEP = ("robustresnet_a2", "robustresnet_a3", "robustresnet_a4", "rawrn70_16")
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in DEEP else ()) for name in PARAMETERS]
SMALL: dict[str, Callable[[], nn.Module]] = {
    "vgg11": zoo.vgg11,
    "densenet": lambda: zoo.DenseNet((2, 2, 2, 2), growth=8),
    "darts": lambda: zoo.darts(cells=3, stem_width=12, cell_widths=(4, 8, 16)),
    "wrn": lambda: zoo.wrn(10, 1),
    "resnet18": zoo.resnet18,
    "preactresnet18": zoo.preactresnet18,
    "robustresnet": lambda: zoo.RobustResNet((1, 2), (16, 32)),
    "rawrn": lambda: zoo.RaWideResNet((1, 2), (8, 16), stem=12),
    "raresnet": lambda: zoo.RaResNet((1, 2), (16, 32), stem=12, num_classes=10),
}


def on_meta(factory: Callable[..., nn.Module], *args: object, **kwargs: object) -> nn.Module:
    with torch.device("meta"):
        return factory(*args, **kwargs)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def with_operation(name: str) -> zoo.Genotype:
    """Cells of which every edge is the one operation."""
    edges = ((name, 0), (name, 1), (name, 2), (name, 1))
    return zoo.Genotype(edges, (2, 3), edges, (2, 3))


# -- counts and shapes


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_shape(name: str) -> None:
    model = on_meta(getattr(zoo, name))
    assert count(model) == PARAMETERS[name]
    assert parameter_count(model)[""] == PARAMETERS[name]
    assert all(p.requires_grad for p in model.parameters())
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", NAMES)
def test_num_classes(name: str) -> None:
    model = on_meta(getattr(zoo, name), num_classes=7)
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 7)


def test_docstrings_state_the_counts() -> None:
    for name, parameters in PARAMETERS.items():
        assert f"{parameters:,} parameters" in getattr(zoo, name).__doc__, name


def test_wrn34_12_on_100_classes() -> None:
    assert count(on_meta(zoo.wrn34_12, num_classes=100)) == 66_527_028


def test_darts_as_its_publication_has_it() -> None:
    # 3.3 M, Liu et al. 2019, table 1
    assert count(on_meta(zoo.darts, cells=20, cell_widths=(36, 72, 144))) == 3_349_342


@pytest.mark.parametrize("name", SMALL)
def test_forward_and_backward(name: str) -> None:
    model = SMALL[name]()
    logits = model(torch.rand(4, 3, 32, 32))
    assert logits.shape == (4, 10)
    logits.logsumexp(1).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", SMALL)
def test_eval_is_deterministic_and_independent_of_the_batch(name: str) -> None:
    model = SMALL[name]().eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


# -- initialisation


def test_wrn_draws_convolutions_with_fan_out() -> None:
    model = zoo.wrn(10, 4)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            samples = module.weight.numel()
            expected = math.sqrt(2 / fan_out)
            # The standard deviation of n normal samples is itself known to 1 / sqrt(2 n).
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * samples)), name
            assert abs(module.weight.mean().item()) < 5 * expected / math.sqrt(samples), name
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
    assert (model.fc.bias == 0).all()
    assert model.fc.weight.abs().max() <= 1 / math.sqrt(model.fc.in_features)


def test_wrn_can_be_drawn_again() -> None:
    model = zoo.wrn(10, 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    nn.init.constant_(model.bn1.weight, 3)
    nn.init.constant_(model.fc.bias, 3)
    model.init_weights()
    assert not torch.equal(model.stem_conv.weight, before["stem_conv.weight"])
    assert torch.equal(model.bn1.weight, before["bn1.weight"])
    assert torch.equal(model.fc.bias, before["fc.bias"])


@pytest.mark.parametrize("name", ["vgg11", "densenet", "darts", "resnet18", "preactresnet18"])
def test_the_others_keep_pytorchs_initialisation(name: str) -> None:
    for key, module in SMALL[name]().named_modules():
        if isinstance(module, nn.Conv2d):
            bound = 1 / math.sqrt(module.in_channels // module.groups * math.prod(module.kernel_size))
            assert module.weight.abs().max() <= bound, key
            if module.weight.numel() > 1000:
                assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1), key


@pytest.mark.parametrize("name", SMALL)
def test_one_seed_gives_one_model(name: str) -> None:
    torch.manual_seed(1)
    one = SMALL[name]().state_dict()
    torch.manual_seed(1)
    two = SMALL[name]().state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


# -- WRN


def test_wrn_keys_are_robustbenchs() -> None:
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["stem_conv.weight"]
    for stage in range(3):
        for block in range(2):
            at = f"blocks.{stage}.layer.{block}"
            expected += [f"{at}.bn1.{key}" for key in bn]
            expected += [f"{at}.conv1.weight"]
            expected += [f"{at}.bn2.{key}" for key in bn]
            expected += [f"{at}.conv2.weight"]
            expected += [f"{at}.convShortcut.weight"] if block == 0 else []
    expected += [f"bn1.{key}" for key in bn] + ["fc.weight", "fc.bias"]
    assert list(on_meta(zoo.wrn, 16, 2).state_dict()) == expected


def test_wrn_shapes_of_stages() -> None:
    model = on_meta(zoo.wrn34_10)
    x = model.stem_conv(torch.empty(1, 3, 32, 32, device="meta"))
    shapes = [tuple(x.shape[1:])]
    for block in model.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (160, 32, 32), (320, 16, 16), (640, 8, 8)]


def test_a_stem_of_stride_2_halves_every_resolution_and_changes_no_weight() -> None:
    usual, halved = zoo.wrn(10, 1), zoo.wrn(10, 1, stem_stride=2)
    halved.load_state_dict(usual.state_dict())
    found = [reconfig.stages(*pair) for pair in ((usual, torch.rand(1, 3, 32, 32)), (halved, torch.rand(1, 3, 64, 64)))]
    assert [[stage.resolution for stage in each] for each in found] == [[(32, 32), (16, 16), (8, 8)]] * 2


def test_wrn_dropout_acts_in_train_mode_only() -> None:
    model, images = zoo.wrn(10, 1, dropout=0.5), torch.rand(4, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((35, 10), r"depth=35 is not 6n \+ 4 .* Try wrn\(34, 10\) or wrn\(40, 10\)\."),
        ((4, 1), r"depth=4 is not 6n \+ 4 .* Try wrn\(10, 1\) or wrn\(16, 1\)\."),
        ((-2, 1), r"depth=-2 is not 6n \+ 4 .* Try wrn\(10, 1\) or wrn\(16, 1\)\."),
        ((34, 0), r"widen=0 must be at least 1\. Try wrn\(34, 1\)\."),
        ((34, 1, 10, 0, 0), r"stem_stride=0 must be at least 1\. Try wrn\(34, 1, stem_stride=2\)\."),
        ((34, 1, 10, 1.0), r"dropout=1\.0 must be in \[0, 1\)\. Try wrn\(34, 1, dropout=0\.3\)\."),
    ],
)
def test_wrn_refuses(args: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.wrn(*args)


# -- DARTS


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_width_and_takes_the_stride(name: str) -> None:
    x = torch.rand(2, 6, 8, 8)
    assert OPERATIONS[name](6, 1)(x).shape == (2, 6, 8, 8)
    assert OPERATIONS[name](6, 2)(x).shape == (2, 6, 4, 4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_network_of_every_operation(name: str) -> None:
    model = zoo.darts(with_operation(name), cells=3, stem_width=6, cell_widths=(2, 4, 8))
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert model.classifier.weight.grad is not None
    assert (model.classifier.weight.grad.abs().sum() > 0) == (name != "none")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("none", 0),
        ("skip_connect", 0),
        ("avg_pool_7x7", 0),
        ("max_pool_5x5", 0),
        ("conv_1x1", 8 * 8 + 16),
        ("conv_3x3", 8 * 8 * 9 + 16),
        ("sep_conv_3x3", 2 * (8 * 9 + 8 * 8 + 16)),
        ("sep_conv_7x7", 2 * (8 * 49 + 8 * 8 + 16)),
        ("dil_conv_5x5", 8 * 25 + 8 * 8 + 16),
        ("conv_3x1_1x3", 2 * 8 * 8 * 3 + 16),
        ("conv_7x1_1x7", 2 * 8 * 8 * 7 + 16),
    ],
)
def test_parameters_of_operations(name: str, parameters: int) -> None:
    assert count(OPERATIONS[name](8, 1)) == parameters


def test_none_yields_zeros() -> None:
    assert (OPERATIONS["none"](4, 2)(torch.rand(2, 4, 8, 8)) == 0).all()


def test_dilated_convolution_reaches_two_pixels_further() -> None:
    operation = OPERATIONS["dil_conv_3x3"](1, 1).eval()
    for parameter in operation.parameters():
        nn.init.ones_(parameter)
    x = torch.zeros(1, 1, 7, 7)
    x[0, 0, 3, 3] = 1
    reached = (operation(x) - operation(torch.zeros_like(x)))[0, 0].nonzero().tolist()
    assert reached == [[i, j] for i in (1, 3, 5) for j in (1, 3, 5)]


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [
        ("DARTS_V1", "10010102", "01200220"),
        ("DARTS_V2", "01011002", "01210221"),
        ("NASNet", "1000100011", "1010103221"),
        ("AmoebaNet", "0102031101", "0102010105"),
    ],
)
def test_named_genotypes(name: str, normal: str, reduce: str) -> None:
    genotype = getattr(zoo, name)
    assert "".join(str(source) for _, source in genotype.normal) == normal
    assert "".join(str(source) for _, source in genotype.reduce) == reduce
    model = zoo.darts(genotype, cells=3, stem_width=6, cell_widths=(2, 4, 8))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert model.classifier.in_features == 8 * len(genotype.reduce_concat)


def test_a_namedtuple_of_another_code_and_lists_will_do() -> None:
    foreign = collections.namedtuple("foreign", "normal normal_concat reduce reduce_concat")
    genotype = foreign(
        [list(edge) for edge in zoo.DARTS_V2.normal],
        range(2, 6),
        list(zoo.DARTS_V2.reduce),
        [2, 3, 4, 5],
    )
    assert count(on_meta(zoo.darts, genotype)) == PARAMETERS["darts"]


def test_reductions_stand_at_a_third_and_two_thirds() -> None:
    model = on_meta(zoo.darts)
    sizes = []
    before_last = last = model.stem(torch.empty(1, 3, 32, 32, device="meta"))
    for cell in model.cells:
        before_last, last = last, cell(before_last, last, 0.0)
        sizes.append((last.shape[1], last.shape[2]))
    assert sizes == [(288, 32)] * 3 + [(576, 16)] * 4 + [(1152, 8)] * 4


def test_auxiliary_head() -> None:
    model = zoo.darts(cells=3, stem_width=12, cell_widths=(4, 8, 16), auxiliary=True, num_classes=5)
    images = torch.rand(2, 3, 32, 32)
    logits, auxiliary = model(images)
    assert logits.shape == auxiliary.shape == (2, 5)
    (logits.sum() + auxiliary.logsumexp(1).sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert isinstance(model.eval()(images), torch.Tensor)
    assert count(on_meta(zoo.darts, auxiliary=True)) - PARAMETERS["darts"] == 550_154


def test_without_an_auxiliary_head_train_mode_returns_the_logits_alone() -> None:
    assert isinstance(SMALL["darts"]().train()(torch.rand(2, 3, 32, 32)), torch.Tensor)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    x = torch.ones(20_000, 3, 2, 2)
    out = drop_path(x, 0.25)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(per_sample[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_acts_in_train_mode_only_and_follows_the_seed() -> None:
    images = torch.rand(8, 3, 32, 32)
    model = zoo.darts(cells=3, stem_width=12, cell_widths=(4, 8, 16), drop_path_prob=0.5)
    torch.manual_seed(3)
    one, other = model(images), model(images)
    torch.manual_seed(3)
    again = model(images)
    assert not torch.equal(one, other)
    assert torch.equal(one, again)
    model.drop_path_prob = 0.0
    state = torch.get_rng_state()
    assert torch.equal(model(images), model(images))
    model.drop_path_prob = 0.5
    model.eval()
    assert torch.equal(model(images), model(images))
    assert torch.equal(torch.get_rng_state(), state)


def test_drop_path_spares_the_identity() -> None:
    cell = zoo.darts(with_operation("skip_connect"), cells=3, stem_width=6, cell_widths=(2, 4, 8)).cells[0]
    states = torch.rand(8, 6, 8, 8)
    assert torch.equal(cell(states, states, 0.9), cell(states, states, 0.0))


EDGES = zoo.DARTS_V2.normal


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normal": (("sep_conv_9x9", 0), *EDGES[1:])},
            r"genotype\.normal\[0\] names the operation 'sep_conv_9x9', which is not one of .*sep_conv_7x7",
        ),
        (
            {"reduce": (EDGES[0], EDGES[1], ("skip_connect", 3), EDGES[3])},
            r"genotype\.reduce\[2\] = \('skip_connect', 3\) reads state 3, but .* are 0 to 2\.",
        ),
        ({"normal": EDGES[:3]}, r"genotype\.normal has 3 edges; two make a state"),
        ({"normal": ()}, r"genotype\.normal has 0 edges"),
        (
            {"normal": ("sep_conv_3x3", "sep_conv_3x3")},
            r"genotype\.normal\[0\] = 'sep_conv_3x3' is not a pair\. Try \('sep_conv_3x3', 0\)\.",
        ),
        (
            {"normal_concat": (2, 6)},
            r"normal_concat = \(2, 6\) must list states from 0 to 5\. Try normal_concat=\(2, 3, 4, 5\)\.",
        ),
        ({"reduce_concat": (0, 5)}, r"reduce_concat = \(0, 5\) must list states from 2 to 5\."),
        ({"reduce_concat": ()}, r"reduce_concat = \(\) must list states from 2 to 5\."),
    ],
)
def test_darts_refuses_genotypes(changes: dict[str, tuple[object, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.darts(zoo.DARTS_V2._replace(**changes))


@pytest.mark.parametrize("genotype", ["DARTS_V2", None, (1, 2, 3)])
def test_darts_refuses_what_is_no_genotype(genotype: object) -> None:
    with pytest.raises(TypeError, match=r"is not a Genotype\. Try darts\(zoo\.DARTS_V2\)"):
        zoo.darts(genotype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cells": 2}, r"cells=2 leaves no room for two reductions\. Try darts\(cells=11\)\."),
        ({"cell_widths": (72, 144)}, r"cell_widths=\(72, 144\) must be three positive widths"),
        ({"cell_widths": (72, 144, 0)}, r"cell_widths=\(72, 144, 0\) must be three positive widths"),
        ({"cell_widths": (72, 144, 115)}, r"its width 115 must be even\. Try 114 or 116 in cell_widths\."),
        ({"drop_path_prob": 1.0}, r"drop_path_prob=1\.0 must be in \[0, 1\)"),
    ],
)
def test_darts_refuses_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on_meta(zoo.darts, **arguments)
