import six

from .area import area

__all__ = ["area", "six"]
