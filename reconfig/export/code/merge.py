"""The forwards of eval and of train mode as one."""

from __future__ import annotations

from difflib import SequenceMatcher

from reconfig.export.code.method import Block, Method
from reconfig.export.code.text import Hole, Text

_MOST_BRANCHES = 2
_SAME_HERE = "self.training"


def merged(evaluating: Method, training: Method) -> tuple[Text, ...]:
    """The lines of one forward that does in each mode what was recorded in it; both take the same arguments."""
    ours, theirs = evaluating.blocks, training.blocks
    matcher = SequenceMatcher(a=[_key(block) for block in ours], b=[_key(block) for block in theirs], autojunk=False)
    steps = matcher.get_opcodes()
    if sum(tag != "equal" for tag, *_ in steps) > _MOST_BRANCHES:
        return (*_branch("if self.training:", theirs), *_branch("else:", ours))
    lines: list[Text] = []
    for tag, start, stop, their_start, their_stop in steps:
        if tag == "equal":
            pairs = zip(ours[start:stop], theirs[their_start:their_stop], strict=True)
            lines += [_line(*both) for pair in pairs for both in zip(*pair, strict=True)]
            continue
        if their_start < their_stop:
            lines += _branch("if self.training:", theirs[their_start:their_stop])
        if start < stop:
            lines += _branch("else:" if their_start < their_stop else "if not self.training:", ours[start:stop])
    return tuple(lines)


def _branch(head: str, blocks: tuple[Block, ...]) -> list[Text]:
    inside = ["    " + line for block in blocks for line in block] or [Text("    pass")]
    return [Text(head), *inside]


def _key(block: Block) -> tuple[object, ...]:
    """What two blocks have in common where they do the same, whether they train or not."""
    return tuple((line.frame, tuple(_mode(hole) or hole for hole in line.holes)) for line in block)


def _mode(hole: Hole) -> str:
    return "a mode" if hole.text in ("True", "False") else ""


def _line(ours: Text, theirs: Text) -> Text:
    """A line of both modes."""
    holes = []
    for evaluating, training in zip(ours.holes, theirs.holes, strict=True):
        text = evaluating.text
        if evaluating.text != training.text:
            text = _SAME_HERE if training.text == "True" else f"not {_SAME_HERE}"
        holes.append(Hole(text, evaluating.hint))
    return Text(ours.frame, tuple(holes))
