"""`prefect.input`."""

from ..._input import RunInput

__all__ = ["RunInput"]
