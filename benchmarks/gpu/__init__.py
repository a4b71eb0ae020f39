"""What ``benchmarks/evidence.py`` gathers on a GPU: the items, the order of their worth, and how they survive.

``items`` is the list and ``ledger`` what a folder holds of each; ``gather`` does as much as fits. Each item is a
command of its own: a crash, a full memory or a kill loses that item's last minute and nothing else. ``weights`` and
``travel`` take what must survive off a machine that keeps nothing, ``pack`` takes the checkout there.
"""
