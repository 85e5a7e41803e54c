"""Requests that are made again."""

import random
import time

import httpx

# Seconds between tries where the service does not say.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class Patient(httpx.BaseTransport):
    """Makes a request again that the service asks to repeat (429, 503) or that broke on the way, for `patience` seconds.

    A request that would do something twice is repeated only where it cannot have been taken: with an `Idempotency-Key`,
    or where no connection was made.
    """

    def __init__(self, transport: httpx.BaseTransport, patience: float):
        self._transport = transport
        self._patience = patience

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        until = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                response = self._transport.handle_request(request)
            except httpx.TransportError as error:
                wait = pause * random.uniform(0.5, 1.0)
                if not _may_repeat(request, error) or time.monotonic() + wait > until:
                    raise
            else:
                wait = _asked_wait(response, pause)
                if response.status_code not in (429, 503) or time.monotonic() + wait > until:
                    return response
                # The connection can be used again once the answer is read.
                response.read()
                response.close()
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        self._transport.close()


def _may_repeat(request: httpx.Request, error: httpx.TransportError) -> bool:
    harmless = request.method != "POST" or "Idempotency-Key" in request.headers
    return harmless or isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def _asked_wait(response: httpx.Response, pause: float) -> float:
    asked = response.headers.get("Retry-After", "")
    return max(float(asked), pause) if asked.isdecimal() else pause
