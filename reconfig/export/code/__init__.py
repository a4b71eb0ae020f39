"""A network as a Python file that needs torch alone, with its weights beside it."""

from reconfig.export.code.write import to_code

__all__ = ["to_code"]
