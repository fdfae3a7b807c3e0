# SPDX-License-Identifier: GPL-2.0-only
"""One browser for all tests, and a mobile router's pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.browser import Browser
from tests.browser.documents import router
from tests.browser.server import Fixtures, Pages


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def served() -> Iterator[tuple[Fixtures, str]]:
    fixtures = Fixtures(router())
    with Pages(fixtures) as pages:
        yield fixtures, pages.url
