"""What a model's class tells other people's code about its widths, and how that follows.

No forward reads these numbers, so nothing breaks at once where they are wrong: a new classifier does, or a detector
that is built on them. Each is known by its name, and says what a certain module takes or gives; so its new value is a
width that the capture has seen, not a number that happens to be equal. No library is imported for this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from reconfig.planning.published import encoders, timm, torchvision, transformers
from reconfig.planning.published.seen import Said, Seen
from reconfig.planning.reading import Reading
from reconfig.rewrite.surgery import AttributeEdit, kept_at
from reconfig.widths.structure import Sizes

_ADAPTERS: Mapping[str, Callable[[Seen, str, nn.Module], Iterator[Said]]] = {
    "feature_info": timm.feature_info,
    "num_features": timm.num_features,
    "head_hidden_size": timm.head_hidden_size,
    "in_features": timm.head_input,
    "inplanes": torchvision.inplanes,
    "out_channels": encoders.out_channels,
    "_out_channels": encoders.out_channels_of_encoder,
    "config": transformers.config,
}
"""The attributes that publish widths, each with what says what they are."""


def published_edits(
    reading: Reading, sizes: Sizes, known: tuple[AttributeEdit, ...], *, other_depth: bool
) -> tuple[AttributeEdit, ...]:
    """The published numbers that change with these sizes, without those that are ``known`` to change already.

    Args:
        reading: the model at the plan's depth.
        sizes: channels of every free width.
        known: what the forward itself needs changed.
        other_depth: whether that depth is not the original's.
    """
    seen = Seen(reading, other_depth)
    done = {(edit.path, edit.name) for edit in known}
    edits: list[AttributeEdit] = []
    for path, module in seen.modules.items():
        if module._parameters and type(module).__module__.startswith("torch."):
            continue  # a layer, whose numbers follow with the call that it makes
        for attribute in _ADAPTERS.keys() & vars(module).keys():
            for name, extents in _ADAPTERS[attribute](seen, path, module):
                old = kept_at(module, name)
                new = tuple(reading.structure.widths.size(extent, sizes) for extent in extents)
                value = new if isinstance(old, list | tuple) else new[0]
                if value != (tuple(old) if isinstance(old, list) else old) and (path, name) not in done:
                    done.add((path, name))
                    edits.append(AttributeEdit(path, name, tuple(old) if isinstance(old, list) else old, value))
    return tuple(sorted(edits, key=lambda edit: (edit.path, edit.name)))
