"""`prefect.testing.utilities`."""

from ..._testing import prefect_test_harness

__all__ = ["prefect_test_harness"]
