"""What the scripts have in common."""

import io
import os
import queue
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

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


class Hooks:
    """Takes what is posted to `url`."""

    def __init__(self):
        taken = self.taken = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                taken.put((dict(self.headers), body.decode()))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}/hooks"

    def next(self):
        """Headers and body of the next message."""
        return self.taken.get(timeout=60)


def picture_file(name="blob"):
    file = io.BytesIO(PICTURE)
    file.name = name
    return file


def equal(found, expected):
    assert found == expected, f"{found!r}, not {expected!r}"
