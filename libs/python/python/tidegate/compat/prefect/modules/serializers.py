"""`prefect.serializers`."""

from ....serializers import CompressedSerializer, JSONSerializer, PickleSerializer, Serializer

__all__ = ["CompressedSerializer", "JSONSerializer", "PickleSerializer", "Serializer"]
