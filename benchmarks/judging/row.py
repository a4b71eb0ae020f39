"""What is noted of one model that was rewritten: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.judging.models import Entry

RULE = "10-10-4"
LAST = 0.4  # the ratio of the rule's last term
AGREES, GOES_ON = "agrees", "goes on: "


@dataclass
class Row:
    """What was seen of one model; one line of the CSV."""

    name: str
    source: str
    family: str
    kind: str
    gamma: float = 1.0
    right: bool = False
    problems: str = ""
    oracle: str = ""
    """"agrees", "" where there is none, or how stages and feature_info differ."""
    stages: str = ""
    """reduction:width of each stage."""
    params_before: int = 0
    params: int = 0
    flops: int = 0
    fvcore_flops: str = ""
    """"equal", or fvcore's count, or its error."""
    changed: float = 0.0
    """Share of the last stage's weights, convolutions' and linear maps', whose shape changed."""
    deviation: float = 0.0
    """Largest distance of a last-stage convolution from its ratio, as a share of its width; divisors make it."""
    params_miss: float = 0.0
    """With budget="params", how far the result is from the original's parameters, as a share of them."""
    flops_miss: float = 0.0
    """With budget="flops", how far fvcore's count of the result is from its count of the original."""
    groups: int = 0
    """Width groups in stages."""
    frozen: int = 0
    """Those among them that keep their width though the rule asks."""
    reasons: str = ""
    """The reasons, as JSON: reason -> width groups."""
    plan_seconds: float = 0.0
    apply_seconds: float = 0.0
    """CPU seconds, one thread, of reconfig.apply as a whole: plan, rewrite, new weights."""
    peer_right: str = ""
    """"yes", "no", or "" where the peer was not run."""
    peer_problem: str = ""
    peer_seconds: float = 0.0
    size: int = 0
    """Pixels a side of the images."""
    convolutions: int = 0
    """Convolutions but for depthwise ones, which follow their input."""
    exempt: str = ""
    """Those that were not held to the rule because a plan which asks every stage to change lists them, as JSON:
    kind of reason -> convolutions."""
    exempt_share: float = 0.0
    """Their share of the weights of all."""
    seconds: float = 0.0
    """Processor seconds that judging took in all."""
    problem_list: list[str] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, entry: Entry, gamma: float) -> Row:
        """The row of a model of which nothing is known yet."""
        return cls(entry.name, entry.source, entry.family, entry.kind, gamma, size=entry.input_size)

    def blame(self, *problems: str) -> None:
        """Note what is wrong."""
        self.problem_list.extend(problems)

    def blame_peer(self, problem: str) -> None:
        """Note what is wrong with the peer."""
        self.peer_right, self.peer_problem = "no", problem

    def notes(self) -> list[str]:
        """The first problems, and how the stages differ from ``feature_info``."""
        return [*self.problem_list[:3], *([self.oracle] if differs(self) else [])]


def differs(row: Row) -> bool:
    """Whether the stages differ from ``feature_info``."""
    return bool(row.oracle) and row.oracle != AGREES and not row.oracle.startswith(GOES_ON)


def describe(error: BaseException) -> str:
    """The error's type and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
