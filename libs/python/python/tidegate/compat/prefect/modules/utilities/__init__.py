"""`prefect.utilities`."""

__all__: list[str] = []
