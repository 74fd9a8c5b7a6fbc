"""Settings for all tests, and the marks that choose some: `pytest -m 'not notebooks'`."""

import os

import pytest
import torch

# Toy networks are too small to share out, and threads that wait for each other on a busy machine
# cost more than they bring.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in ("test_notebooks.py", "test_by_hand.py"):
            item.add_marker("notebooks")
        if item.get_closest_marker("real") and not os.environ.get("GALAXYMORPH_DATA"):
            why = "GALAXYMORPH_DATA is not set: no real galaxies to test against"
            item.add_marker(pytest.mark.skip(reason=why))
