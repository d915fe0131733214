"""`prefect.logging.loggers`."""

from ....._logging import get_run_logger
from ..._logs import disable_run_logger, get_logger

__all__ = ["disable_run_logger", "get_logger", "get_run_logger"]
