"""One browser and one server for all tests of the page; each test begins with an empty page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from page_browser import Chat
    from page_double import Double


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts files."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def page_server() -> Iterator[Double]:
    from page_double import Double

    with Double() as server:
        yield server


@pytest.fixture(scope="session")
def page_window(page_server: Double, downloads: Path) -> Iterator[Chat]:
    from page_browser import Chat, open_browser

    with open_browser(downloads) as driver:
        yield Chat(driver, page_server)


@pytest.fixture
def chat(page_window: Chat, page_server: Double) -> Iterator[Chat]:
    """The page, fresh; afterwards nothing may have gone wrong on it."""
    page_server.forget()
    page_window.driver.get_log("browser")
    yield page_window.open()
    assert page_window.troubles() == []
