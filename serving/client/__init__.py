"""The other end of the service: plants that ask it for commands and go on without it, and its operators' commands.

`SiteClient` and `AsyncSiteClient` ask for the commands of one site. A client has a guard and a fallback of its own.
"""

from serving.client.site_client import AsyncSiteClient, SiteClient
from serving.client.takeover import Decided, Unusable
from serving.core.deadline import Late

__all__ = ["AsyncSiteClient", "Decided", "Late", "SiteClient", "Unusable"]
