"""Requests that are made again."""

import random
import time
from typing import Any

import httpx

# Seconds between tries where the service does not say.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# Too many requests, and what services and the proxies in front of them answer while something is not there.
NOT_NOW = (429, 502, 503, 504)


class Patient(httpx.Client):
    """Makes a request again that is refused for now or that broke on the way, for `patience` seconds.

    A request that would do something twice is made again only where it cannot have been done: with an
    `Idempotency-Key`, where no connection was made, or where too many were made.
    """

    def __init__(self, patience: float, **options: Any):
        super().__init__(**options)
        self._patience = patience

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        until = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        harmless = request.method != "POST" or "Idempotency-Key" in request.headers
        while True:
            try:
                response = super().send(request, **options)
            except httpx.TransportError as error:
                unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
                wait = pause * random.uniform(0.5, 1.0)
                if not (harmless or unsent) or time.monotonic() + wait > until:
                    raise
            else:
                wait = _asked_wait(response, pause)
                again = response.status_code in NOT_NOW and (harmless or response.status_code == 429)
                if not again or time.monotonic() + wait > until:
                    return response
                response.close()
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


def _asked_wait(response: httpx.Response, pause: float) -> float:
    asked = response.headers.get("Retry-After", "")
    return max(float(asked), pause) if asked.isdecimal() else pause
