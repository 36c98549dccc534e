"""The inspector: a page for development that shows a backend's functions and its latest calls.

The page is static and calls the backend's own routes, as any client does. Only the latest calls have a route
of their own. ``ServerSettings.inspector`` switches it on; it costs nothing while it is off.
"""

from navai_client.server._inspector._page import CALLS_PATH, PAGE_PATH, page_responses
from navai_client.server._inspector._recent import RecentCalls

__all__ = ["CALLS_PATH", "PAGE_PATH", "RecentCalls", "page_responses"]
