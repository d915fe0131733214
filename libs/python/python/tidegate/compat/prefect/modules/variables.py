"""`prefect.variables`."""

from .._variables import Variable

__all__ = ["Variable"]
