"""The inspector: a page to look at a backend with, its files, and the latest calls that it shows.

The page is static and asks the backend's own routes, as any client does. Only the latest calls have a route
of their own. It is served when ``ServerSettings.inspector`` says so, and costs nothing when not.
"""

from navai_client.server._inspector._page import CALLS_PATH, PAGE_PATH, page_answers
from navai_client.server._inspector._recent import RecentCalls

__all__ = ["CALLS_PATH", "PAGE_PATH", "RecentCalls", "page_answers"]
