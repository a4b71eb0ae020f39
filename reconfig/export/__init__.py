"""Networks in files that other people's code reads."""

from reconfig.export.code import to_code

__all__ = ["to_code"]
