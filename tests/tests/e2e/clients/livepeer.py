"""The Python client of Livepeer AI."""

import json
import os
import time
import urllib.error
import urllib.request

from expect import *
from livepeer_ai import Livepeer, utils
from livepeer_ai.models import errors
from point import *


def generate(client=client, **parameters):
    return client.generate.text_to_image(request=parameters).image_response.images


def describe(image=PICTURE, name="blob", **parameters):
    request = {"image": {"file_name": name, "content": image}, **parameters}
    return client.generate.image_to_text(request=request).image_to_text_response.text


# Everything that the caller leaves out is sent by the client.
(image,) = generate(prompt="a red circle")
assert fetch(image.url).startswith(PNG)
assert image.nsfw is False and 0 <= image.seed < 2**32

images = generate(prompt="a red circle", seed=7, num_images_per_prompt=3, width=64, height=64, model_id=FAST_MODEL)
equal([image.seed for image in images], [7, 8, 9])
equal(len({image.url for image in images}), 3)

(flagged,) = generate(prompt="a red circle [fake:nsfw]")
assert flagged.nsfw is True
(unchecked,) = generate(prompt="a red circle [fake:nsfw]", safety_check=False)
assert unchecked.nsfw is False

# Both base URLs in use.
below = Livepeer(http_bearer=os.environ["DARKROOM_API_KEY"], server_url=os.environ["DARKROOM_URL"] + "/api/beta/generate")
equal(len(generate(client=below, prompt="a red circle")), 1)

assert describe()
assert describe(prompt="a picture of").startswith("a picture of")

# Errors, as the client tells them.
with raises(errors.HTTPError) as raised:
    generate(prompt="")
equal(raised[0].data.detail.msg, "Prompt must be provided.")
with raises(errors.HTTPError) as raised:
    generate(prompt="a", model_id="nobody/nothing")
assert raised[0].data.detail.msg.startswith("Error during model execution: "), raised
with raises(errors.HTTPError) as raised:
    generate(prompt="a", loras='{"nobody/nothing": 1.0}')
assert "nobody/nothing" in raised[0].data.detail.msg
with raises(errors.HTTPError) as raised:
    generate(prompt="a [fake:invalid_input]")
assert raised[0].data.detail.msg.startswith("Error during model execution: "), raised
with raises(errors.HTTPError) as raised:
    describe(image=b"hello")
assert raised[0].data.detail.msg.startswith("Error during model execution: "), raised
with raises(errors.HTTPError) as raised:
    generate(client=Livepeer(http_bearer="wrong", server_url=os.environ["DARKROOM_URL"]), prompt="a")
equal(raised[0].data.detail.msg, "Invalid bearer token.")
with raises(errors.HTTPValidationError) as raised:
    # The client coerces what it is given; what it sends without asking is what a caller in another language could.
    client.generate.text_to_image(request={"prompt": "a"}, http_headers={"content-type": "text/plain"})
equal(raised[0].data.detail[0].type, "model_attributes_type")

# A slow job, and two callers at once, of whom each gets their own.
started = time.monotonic()
slow, fast = at_once(
    lambda: generate(prompt="slow", model_id=SLOW_MODEL, num_inference_steps=2, seed=1),
    lambda: generate(prompt="fast", seed=2),
)
equal((slow[0].seed, fast[0].seed), (1, 2))
assert time.monotonic() - started >= 3.9, "the slow one takes two steps of two seconds"

# Retries, where the caller asks for them, end with the answer of the last.
retries = utils.RetryConfig("backoff", utils.BackoffStrategy(1, 50, 1.1, 200), True)
with raises(errors.HTTPError):
    client.generate.text_to_image(request={"prompt": "a", "model_id": "nobody/nothing"}, retries=retries)


def call(path, document, **headers):
    headers |= {"authorization": f"Bearer {os.environ['DARKROOM_API_KEY']}", "content-type": "application/json"}
    request = urllib.request.Request(os.environ["DARKROOM_URL"] + path, json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return response.status, json.load(response)


# Without waiting, in the form that Livepeer has for its slower pipelines.
status, accepted = call("/text-to-image", {"prompt": "a"}, prefer="respond-async")
equal(status, 202)
for _ in range(200):
    status, result = call("/text-to-image/result", accepted)
    if status == 200:
        break
    equal(result, {"status": "processing"})
    time.sleep(0.1)
equal((status, result["status"]), (200, "complete"))
assert fetch(result["result"]["images"][0]["url"]).startswith(PNG)

# A caller who hangs up loses nothing but the answer.
with raises(Exception):
    client.generate.text_to_image(
        request={"prompt": "dropped", "model_id": SLOW_MODEL, "num_inference_steps": 1, "seed": 77}, timeout_ms=500
    )
request = urllib.request.Request(
    os.environ["DARKROOM_URL"] + "/v1/jobs?limit=1", headers={"authorization": f"Bearer {os.environ['DARKROOM_API_KEY']}"}
)
for _ in range(200):
    (job,) = json.load(urllib.request.urlopen(request))["jobs"]
    if job["state"] == "succeeded":
        break
    time.sleep(0.1)
equal((job["state"], job["input"]["seed"]), ("succeeded", 77))
