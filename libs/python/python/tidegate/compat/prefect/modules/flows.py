"""`prefect.flows`."""

from .._functions import Flow, flow
from .._serving import aserve, serve

__all__ = ["Flow", "aserve", "flow", "serve"]
