"""`prefect.flows`."""

from .._functions import Flow, flow

__all__ = ["Flow", "flow"]
