"""Fixtures that every test may use, and one hypothesis profile for all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine (derandomize): a red test must be red again when it is looked into.
settings.register_profile("camelid", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("camelid")

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch is loaded
    # Two workers with a thread for each core wait for one another at every product, many times as long as it takes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # where a test asks for two threads, none spins

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that is kept beside the project and never inside it."""
    folder = Path(os.environ.get("CAMELID_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set CAMELID_SHARED_DATA)")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Exhaustive variants run only when asked for: `pytest -m slow`, or by the name of the test."""
    if config.option.markexpr or any("::" in str(a) for a in config.args):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run by make test-slow"))
