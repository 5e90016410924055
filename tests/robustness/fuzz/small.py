"""A replacement of a few lines: what is put where does not depend on its length, and a hundred thousand files do."""

from typing import Any


def isin_mps_friendly(elements: Any, test_elements: Any) -> Any:
    """Whether each of the elements is one of the others.

    A docstring of several lines.
    """
    if isinstance(test_elements, int):
        return elements == test_elements  # a comment

    found = elements[..., None] == test_elements.flatten()
    return found.any(-1)
