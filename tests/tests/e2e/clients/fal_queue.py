"""The Python client of fal."""

import base64
import json
import os
import time
import urllib.error
import urllib.request

from expect import *
from point import *

FAST, SLOW, CAPTIONS = f"darkroom/{FAST_MODEL}", f"darkroom/{SLOW_MODEL}", f"darkroom/{FAST_MODEL}-captions"

# Nobody does it in time; see below.
late = client.submit(f"darkroom/{IDLE_MODEL}", {"prompt": "late"}, start_timeout=1.5)

# Submit and wait in one, with and without the queue.
for call in client.subscribe, client.run:
    result = call(FAST, {"prompt": "a red circle", "seed": 7, "num_images": 2, "image_size": {"width": 64, "height": 128}})
    equal([(image["width"], image["height"], image["content_type"]) for image in result["images"]], [(64, 128, "image/png")] * 2)
    equal((result["seed"], result["prompt"], result["has_nsfw_concepts"]), (7, "a red circle", [False, False]))
    assert fetch(result["images"][0]["url"]).startswith(PNG)

flagged = client.run(FAST, {"prompt": "a [fake:nsfw]"})
equal(flagged["has_nsfw_concepts"], [True])
unchecked = client.run(FAST, {"prompt": "a [fake:nsfw]", "enable_safety_checker": False})
equal(unchecked["has_nsfw_concepts"], [False])
equal(client.run(FAST, {"prompt": "a", "output_format": "jpeg"})["images"][0]["content_type"], "image/jpeg")

# Step by step.
handle = client.submit(SLOW, {"prompt": "slow", "num_inference_steps": 3, "seed": 5}, priority="low", start_timeout=60)
seen, asked = [], 0
for event in handle.iter_events(with_logs=True):
    asked += 1
    seen.append(event)
assert isinstance(seen[-1], client.Completed) and seen[-1].error is None and seen[-1].metrics["inference_time"] > 0, seen
assert any(isinstance(event, client.InProgress) and event.logs for event in seen), seen
equal(handle.get()["seed"], 5)
equal(client.result(SLOW, handle.request_id)["seed"], 5)
assert isinstance(client.status(SLOW, handle.request_id), client.Completed)

# A status that stays the same is held back: the client asks ten times a second, and is answered a few times.
handle = client.submit(SLOW, {"prompt": "slow", "num_inference_steps": 2})
asked = sum(1 for _ in handle.iter_events())
assert asked <= 6, asked

# Waiting in the queue, and canceling.
busy = client.submit(SLOW, {"prompt": "busy", "num_inference_steps": 2})
waiting = [client.submit(SLOW, {"prompt": "waiting", "num_inference_steps": 1}) for _ in range(2)]
assert isinstance(waiting[1].status(with_logs=True), client.Queued)
for handle in waiting:
    handle.cancel()
    status = handle.status()
    equal((type(status), status.error_type), (client.Completed, "client_cancelled"))
    with raises(client.FalClientHTTPError) as raised:
        handle.get()
    equal(raised[0].error_type, "client_cancelled")
with raises(client.FalClientHTTPError) as raised:
    waiting[0].cancel()
equal(raised[0].response.json(), {"status": "ALREADY_COMPLETED"})
busy.cancel()

# Webhooks.
hooks = Hooks()
for prompt, status in [("a", "OK"), ("a [fake:invalid_input]", "ERROR")]:
    handle = client.submit(FAST, {"prompt": prompt}, webhook_url=hooks.url)
    told = json.loads(hooks.next()[1])
    equal((told["request_id"], told["gateway_request_id"], told["status"]), (handle.request_id, handle.request_id, status))
    if status == "OK":
        equal((told["payload"], told["error"]), (handle.get(), None))
    else:
        assert told["error"] and told["payload"]["detail"] == told["error"], told

# Captions.
uri = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
assert client.run(CAPTIONS, {"image_url": uri, "prompt": "a picture of"})["text"].startswith("a picture of")

# Errors, as the client tells them.
for call, status, error_type in [
    (lambda: client.run(FAST, {}), 422, "invalid_request"),
    (lambda: client.submit(FAST, {"prompt": "a", "num_images": 99}), 422, "invalid_request"),
    (lambda: client.submit(FAST, {"prompt": "a", "image_size": "huge"}), 422, "invalid_request"),
    (lambda: client.submit(FAST, {"prompt": "a", "loras": [{"path": "a/b"}]}), 422, "invalid_request"),
    (lambda: client.submit(FAST, {"prompt": "a"}, webhook_url="http://10.0.0.1/"), 422, "invalid_request"),
    (lambda: client.run(FAST, {"prompt": "a [fake:invalid_input]"}), 422, "invalid_input"),
    (lambda: client.run(FAST, {"prompt": "a [fake:not_finite]"}), 500, None),
    (lambda: client.submit("nobody/nothing", {"prompt": "a"}), 404, "not_found"),
    (lambda: client.status(FAST, "nothing"), 404, "not_found"),
    (lambda: client.cancel(FAST, "nothing"), 404, None),
    (lambda: client.run(CAPTIONS, {"image_url": "data:;base64,aGVsbG8="}), 422, "unsupported_image"),
]:
    with raises(client.FalClientHTTPError) as raised:
        call()
    equal(raised[0].status_code, status)
    assert error_type is None or raised[0].error_type == error_type, raised[0].error_type
with raises(client.FalClientHTTPError) as raised:
    client.SyncClient(key="wrong").run(FAST, {"prompt": "a"})
equal(raised[0].status_code, 401)

# Limits, of a key and of the whole. The client waits for the former.
with raises(client.FalClientHTTPError) as raised:
    client.SyncClient(key=BUSY_KEY).submit(FAST, {"prompt": "a"})
equal((raised[0].status_code, raised[0].error_type), (503, "overloaded"))
assert "too many jobs wait" in raised[0].message, raised
limited = client.SyncClient(key=LIMITED_KEY)
handle = limited.submit(FAST, {"prompt": "a"})
handle.get()
for _ in range(31):
    assert isinstance(handle.status(), client.Completed)
with raises(client.FalClientHTTPError) as raised:
    through_outage(lambda: client.submit(FAST, {"prompt": "a"}))
equal((raised[0].status_code, raised[0].error_type), (503, "unavailable"))
with raises(client.FalClientHTTPError) as raised:
    client.submit(FAST, {"prompt": "a" * 17_000_000})
equal((raised[0].status_code, raised[0].error_type), (413, "too_large"))

# A request that does not start in time.
with raises(client.FalClientHTTPError) as raised:
    late.get()
equal((raised[0].status_code, raised[0].error_type), (504, "request_timeout"))
equal((type(late.status()), late.status().error_type), (client.Completed, "request_timeout"))

# A line that breaks: the client repeats what it asked, and finds the job that runs.
result = dropped(lambda: client.run(SLOW, {"prompt": "dropped", "num_inference_steps": 1}))
equal(result["seed"], succeeded("dropped")["input"]["seed"])

# Two callers at once, of whom each gets their own.
slow, fast = at_once(
    lambda: client.subscribe(SLOW, {"prompt": "slow", "seed": 1, "num_inference_steps": 1}),
    lambda: client.subscribe(FAST, {"prompt": "fast", "seed": 2}),
)
equal((slow["seed"], fast["seed"]), (1, 2))
