"""The Python client of Replicate."""

import base64
import io
import json
import os
import time

from expect import *
from httpx import TransportError
from point import *
from replicate import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.webhook import InvalidSignatureError, Webhooks

FAST, SLOW, CAPTIONS = f"darkroom/{FAST_MODEL}", f"darkroom/{SLOW_MODEL}", f"darkroom/{FAST_MODEL}-captions"

# Nobody does it in time; see below.
late = submit(model=IDLE_MODEL, deadline_seconds=1)

# Run and wait: files, which the client fetches with the caller's key.
(output,) = client.run(FAST, input={"prompt": "a red circle"})
assert output.read().startswith(PNG)
outputs = client.run(
    FAST,
    input={"prompt": "a red circle", "num_outputs": 3, "seed": 7, "aspect_ratio": "16:9", "output_format": "webp",
           "output_quality": 80, "num_inference_steps": 2, "guidance": 3.0, "disable_safety_checker": True, "go_fast": True},
)
equal(len({str(output) for output in outputs}), 3)
assert all(output.read().startswith(b"RIFF") for output in outputs)
assert list(client.run(FAST, input={"prompt": "a"}, use_file_output=False))[0].startswith("https://")

# By version, with and without the model's name.
model = client.models.get(FAST)
equal((model.owner, model.name), ("darkroom", FAST_MODEL))
version = model.latest_version
equal(client.models.get(FAST).versions.get(version.id).id, version.id)
equal([one.id for one in model.versions.list().results], [version.id])
assert client.run(f"{FAST}:{version.id}", input={"prompt": "a"})[0].read().startswith(PNG)
equal(len(client.models.list().results), 4)

# Without waiting: from `starting` to the end, with progress on the way.
prediction = client.predictions.create(version=version.id, input={"prompt": "a", "seed": 7})
equal((prediction.status, prediction.output, prediction.input["seed"]), ("starting", None, 7))
prediction.wait()
equal((prediction.status, len(prediction.output), prediction.model), ("succeeded", 1, FAST))
assert prediction.metrics["predict_time"] >= 0 and prediction.completed_at
equal((prediction.progress.percentage, prediction.progress.current), (1.0, 4))

slow = client.models.predictions.create(SLOW, input={"prompt": "slow", "num_inference_steps": 2, "seed": 5})
seen = set()
while slow.status not in ("succeeded", "failed", "canceled"):
    seen.add((slow.status, slow.progress and slow.progress.current))
    time.sleep(0.2)
    slow.reload()
equal(slow.status, "succeeded")
assert ("processing", 1) in seen, seen

# A wait that ends before the job does.
early = client.models.predictions.create(SLOW, input={"prompt": "slow", "num_inference_steps": 2}, wait=1)
equal(early.status, "starting")
early.cancel()
equal(early.status, "canceled")
early.cancel()
equal(client.predictions.get(early.id).status, "canceled")

# Streams.
prediction = client.predictions.create(version=version.id, input={"prompt": "a", "num_outputs": 2}, stream=True)
events = list(prediction.stream())
equal([event.event.value for event in events], ["output", "output", "done"])
assert events[0].data.read().startswith(PNG)

# Captions are a text.
uri = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
assert client.run(CAPTIONS, input={"image": uri, "prompt": "a picture of"}).startswith("a picture of")
assert client.run(CAPTIONS, input={"image": io.BytesIO(PICTURE)}, file_encoding_strategy="base64")
# Else the client uploads it first.
assert client.run(CAPTIONS, input={"image": io.BytesIO(PICTURE)})
file = client.files.create(io.BytesIO(PICTURE), filename="demo.png", metadata={"a": "b"})
equal((file.content_type, file.size), ("image/png", len(PICTURE)))
equal(client.files.get(file.id).checksums["sha256"], file.checksums["sha256"])

# Webhooks: the prediction as it is shown, signed so that the client believes it.
hooks = Hooks()
secret = client.webhooks.default.secret()
created = client.predictions.create(
    version=version.id, input={"prompt": "a"}, webhook=hooks.url, webhook_events_filter=["completed"]
)
headers, body = hooks.next()
Webhooks.validate(headers=headers, body=body, secret=secret, tolerance=60)
with raises(InvalidSignatureError):
    Webhooks.validate(headers=headers, body=body + " ", secret=secret)
told = json.loads(body)
equal((told["id"], told["status"], told["error"]), (created.id, "succeeded", None))
equal(told["output"], client.predictions.get(created.id).output)
# The beginning, each of two outputs and the end are a message each, and show the prediction as it is by then.
created = client.predictions.create(
    version=version.id, input={"prompt": "a", "num_outputs": 2}, webhook=hooks.url,
    webhook_events_filter=["start", "output", "completed"],
)
told = {}
while len(told) < 4:
    headers, body = hooks.next()
    Webhooks.validate(headers=headers, body=body, secret=secret, tolerance=60)
    shown = json.loads(body)
    equal(shown["id"], created.id)
    told[headers["webhook-id"]] = shown["status"]
assert "succeeded" in told.values() and set(told.values()) <= {"starting", "processing", "succeeded"}, told

# Pages.
page = client.predictions.list()
assert page.next is None and page.results[0].id != page.results[1].id
for _ in range(101 - len(page.results)):
    client.predictions.create(version=version.id, input={"prompt": "a"})
page = client.predictions.list()
equal(len(page.results), 100)
assert len(client.predictions.list(page.next).results) >= 1

# Errors, as the client tells them.
with raises(ModelError) as raised:
    client.run(FAST, input={"prompt": "a [fake:invalid_input]"})
equal(raised[0].prediction.status, "failed")
assert raised[0].prediction.error
for create, status in [
    (lambda: client.predictions.create(version="0" * 64, input={"prompt": "a"}), 422),
    (lambda: client.predictions.create(version=version.id, input={}), 422),
    (lambda: client.predictions.create(version=version.id, input={"prompt": "a", "num_outputs": 99}), 422),
    (lambda: client.predictions.create(version=version.id, input={"prompt": "a"}, webhook="http://10.0.0.1/"), 422),
    (lambda: client.run("nobody/nothing", input={"prompt": "a"}), 404),
    (lambda: client.models.get("nobody/nothing"), 404),
    (lambda: client.predictions.get("nothing"), 404),
    (lambda: client.predictions.cancel("nothing"), 404),
    (lambda: client.run(CAPTIONS, input={"image": "data:;base64,aGVsbG8="}), 422),
]:
    with raises(ReplicateError) as raised:
        create()
    equal(raised[0].status, status)
    assert raised[0].title and raised[0].detail, raised
with raises(ReplicateError) as raised:
    Client(api_token="wrong", base_url=os.environ["DARKROOM_URL"] + "/replicate").run(FAST, input={"prompt": "a"})
equal(raised[0].status, 401)

def of(key):
    return Client(api_token=key, base_url=os.environ["DARKROOM_URL"] + "/replicate")


# Limits, of a key and of the whole. The client repeats no submission.
limited = of(LIMITED_KEY)
for create, status, detail in [
    (lambda: of(BUSY_KEY).predictions.create(version=version.id, input={"prompt": "a"}), 503, "too many jobs wait"),
    (lambda: exhaust(lambda: limited.predictions.create(version=version.id, input={"prompt": "a"})), 429, "too many requests"),
    (lambda: client.predictions.create(version=version.id, input={"prompt": "a" * 17_000_000}), 413, "larger than"),
]:
    with raises(ReplicateError) as raised:
        create()
    equal(raised[0].status, status)
    assert detail in raised[0].detail and raised[0].title, raised
# What only reads it does repeat.
equal(limited.models.get(FAST).name, FAST_MODEL)
equal(through_outage(lambda: client.predictions.get(created.id)).id, created.id)

# A job that is not done in time, as the service's own callers ask for it.
late = client.predictions.get(late)
late.wait()
equal((late.status, late.output), ("failed", None))
assert "deadline" in late.error, late

# A line that breaks while a caller waits, who finds what became of it.
create = lambda: client.models.predictions.create(SLOW, input={"prompt": "dropped", "num_inference_steps": 1}, wait=30)
with raises(TransportError):
    dropped(create)
job = succeeded("dropped")
prediction = client.predictions.list().results[0]
equal((prediction.id, prediction.status, len(prediction.output)), (job["id"], "succeeded", 1))
# Who repeats it soon is led to it.
equal(create().id, job["id"])

# Two callers at once, of whom each gets their own.
slow, fast = at_once(
    lambda: client.models.predictions.create(SLOW, input={"prompt": "slow", "seed": 1, "num_inference_steps": 1}, wait=30),
    lambda: client.models.predictions.create(FAST, input={"prompt": "fast", "seed": 2}, wait=30),
)
equal((slow.status, slow.input["seed"]), ("succeeded", 1))
equal((fast.status, fast.input["seed"]), ("succeeded", 2))
