"""Chromium, for the tests that look at a page."""

from browsing import browser, chromium  # noqa: F401
