"""No test of a figure leaves one open, or changes matplotlib's settings."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def nothing_left_open():
    from matplotlib import pyplot, rcParams

    before = dict(rcParams)
    yield
    assert not pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert dict(rcParams) == before
