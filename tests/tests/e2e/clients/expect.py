"""What the scripts have in common."""

import io
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

FAST_MODEL = os.environ["FAST_MODEL"]
SLOW_MODEL = os.environ["SLOW_MODEL"]
PICTURE = open(os.environ["PICTURE"], "rb").read()
PNG = b"\x89PNG\r\n\x1a\n"


def fetch(url):
    """The bytes at a result's URL, which needs no key."""
    with urllib.request.urlopen(url) as response:
        return response.read()


@contextmanager
def raises(kind):
    """The block has to raise `kind`; what it raised is put into the list that this yields."""
    raised = []
    try:
        yield raised
    except kind as error:
        raised.append(error)
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def at_once(*calls):
    """Runs calls at the same time and returns what they return."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


def picture_file(name="blob"):
    file = io.BytesIO(PICTURE)
    file.name = name
    return file


def equal(found, expected):
    assert found == expected, f"{found!r}, not {expected!r}"
