"""`prefect.utilities.annotations`."""

from ..._annotations import allow_failure, Quote, quote, unmapped

__all__ = ["Quote", "allow_failure", "quote", "unmapped"]
