"""Chromium, for the tests that look at a page."""

from browsing import browser as browser
from browsing import chromium as chromium
