"""What the scripts have in common."""

import io
import json
import os
import queue
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

FAST_MODEL = os.environ["FAST_MODEL"]
SLOW_MODEL = os.environ["SLOW_MODEL"]
# Nobody serves it, and its attempts may take a second.
IDLE_MODEL = os.environ.get("IDLE_MODEL")
# The key of a tenant with as much waiting as there may, and of one that may make thirty requests a minute.
BUSY_KEY, LIMITED_KEY = os.environ.get("BUSY_API_KEY"), os.environ.get("LIMITED_API_KEY")
PICTURE = open(os.environ["PICTURE"], "rb").read()
PNG = b"\x89PNG\r\n\x1a\n"


def fetch(url):
    """The bytes at a result's URL, which needs no key."""
    with urllib.request.urlopen(url) as response:
        return response.read()


def call(path, document=None, **headers):
    """Status and body of a request to the service itself, past the lines that are disturbed."""
    headers |= {"authorization": f"Bearer {os.environ['DARKROOM_API_KEY']}", "content-type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(os.environ["DIRECT_URL"] + path, body, headers)) as response:
        return response.status, json.load(response)


def submit(**document):
    """The id of a job that is submitted to the service itself."""
    return call("/v1/jobs", {"pipeline": "text-to-image", "input": {"prompt": "a"}, **document})[1]["id"]


def jobs_of(prompt):
    """The jobs with this prompt, the latest first."""
    return [job for job in call("/v1/jobs?limit=100")[1]["jobs"] if job["input"].get("prompt") == prompt]


def eventually(what, ask):
    """What `ask` returns as soon as that is something."""
    for _ in range(600):
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


def succeeded(prompt):
    """The one job with this prompt, when it has succeeded."""
    (job,) = eventually("a job", lambda: jobs_of(prompt))
    return eventually("success", lambda: call(f"/v1/jobs/{job['id']}")[1]["state"] == "succeeded" and job)


def cancel(prompt):
    """Cancels the one job with this prompt, as soon as it is there."""
    (job,) = eventually("a job", lambda: jobs_of(prompt))
    equal(call(f"/v1/jobs/{job['id']}/cancel", {})[0], 200)


def control(name):
    """Has the lines disturbed, see `control.rs`."""
    urllib.request.urlopen(os.environ["CONTROL"] + "/" + name, b"").close()


def dropped(wait):
    """What comes of `wait`, whose connection is dropped when its job runs."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(wait)
        control("drop")
        return running.result()


def through_outage(ask):
    """What comes of `ask`, which is answered 503 with `Retry-After` at first."""
    control("outage")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask)
        control("mend")
        return running.result()


def exhaust(ask):
    """Asks more often than a minute allows."""
    for _ in range(200):
        ask()


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
