"""Pictures from words and words from pictures, by a Darkroom service.

`Darkroom` does what most callers want. Everything else that the API can do is in `darkroom.rest`, which is generated from
the service's OpenAPI document: `darkroom.rest.api` has a module for each operation, `darkroom.rest.models` the documents.
"""

from darkroom.client import Darkroom
from darkroom.errors import DarkroomError, Incomplete, JobEnded, Refused, Unexpected
from darkroom.messages import verify

__all__ = ["Darkroom", "DarkroomError", "Incomplete", "JobEnded", "Refused", "Unexpected", "verify"]
