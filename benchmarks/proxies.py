"""Rank trained networks by zero-cost proxies, and see whether one foretells robust accuracy better than a count.

    python benchmarks/proxies.py runs/compare
    python benchmarks/proxies.py runs/depth-grid --measure pgd20
    python benchmarks/proxies.py runs/search

Takes the folder of a sweep, a comparison or a search. Prints Kendall's tau of each proxy, of the parameters and of the
multiply-adds with the networks' robust accuracy, with intervals, and writes proxies.json into the folder. See
docs/search.md.
"""

from __future__ import annotations

import sys

import tyro

from reconfig.harness import command
from reconfig.harness.options import ProxyOptions


def main() -> int:
    """Rank as the command line says; the exit code."""
    options = tyro.cli(ProxyOptions, description=__doc__)

    def rank() -> None:
        from reconfig.harness.studies import proxy_ranking  # only now, so that --help does not wait for torch

        proxy_ranking.run(options)

    return command.finish(rank)


if __name__ == "__main__":
    sys.exit(main())
