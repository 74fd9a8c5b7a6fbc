"""Settings for all tests, and the marks that choose some: `pytest -m 'not notebook'`."""

import os

# Toy networks are too small to share out, and threads that wait for each other on a busy machine
# cost more than they bring. Kernels inherit this, and so share one fork server.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)
NOTEBOOK = ("test_notebooks.py", "test_by_hand.py")


def pytest_collection_modifyitems(config, items):
    """Leave out tests that cannot run or are not asked for; begin with those that take longest."""
    slow = os.environ.get("GALAXYMORPH_SLOW") or "slow" in config.getoption("markexpr")
    left_out = {
        "real": "" if os.environ.get("GALAXYMORPH_DATA") else "GALAXYMORPH_DATA is not set",
        "gpu": "" if torch.cuda.is_available() else "no GPU",
        "slow": "" if slow else "slow: pytest -m slow, or GALAXYMORPH_SLOW=1",
    }
    for item in items:
        if item.path.parent == config.rootpath / "tests" and item.path.name in NOTEBOOK:
            item.add_marker("notebook")
        for mark, why in left_out.items():
            if why and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=why))
    items.sort(key=lambda item: "notebook" not in item.keywords)  # stable: the rest as it was
