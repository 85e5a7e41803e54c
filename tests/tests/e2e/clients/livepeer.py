"""The Python client of Livepeer AI."""

import json
import os
import time

from expect import *
from httpx import TransportError
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
    describe(image=PICTURE.ljust(52_428_801, b"\0"))
equal(raised[0].data.detail.msg, "File size exceeds limit")
with raises(errors.HTTPError) as raised:
    generate(prompt="a [fake:not_finite]")
equal(raised[0].data.detail.msg, "Text-to-image pipeline error.")
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

# A job that is canceled while its caller waits.
def canceled():
    with raises(errors.HTTPError) as raised:
        generate(prompt="canceled", model_id=IDLE_MODEL)
    return raised[0].data.detail.msg


equal(at_once(canceled, lambda: cancel("canceled"))[0], "Text-to-image pipeline error.")

# What the client has no word for is an error with the answer in it.
def told(status, ask):
    with raises(errors.SDKError) as raised:
        exhaust(ask)
    equal(raised[0].status_code, status)
    body = json.loads(raised[0].body)
    equal(body, {"detail": {"msg": body["error"]["message"]}, "error": body["error"]})
    return body["detail"]["msg"]


def of(key):
    return Livepeer(http_bearer=key, server_url=os.environ["DARKROOM_URL"])


equal(told(404, lambda: client.generate.llm(request={"messages": []})), "there is no such path")
equal(told(503, lambda: generate(of(BUSY_KEY), prompt="a")), "too many jobs wait: try again later")
limited = of(LIMITED_KEY)
assert told(429, lambda: generate(limited, prompt="a", width=64, height=64)).startswith("too many requests: ")

# Retries, where the caller asks for them: through an outage, and of what the line or the caller's patience broke off.
retries = utils.RetryConfig("backoff", utils.BackoffStrategy(100, 1_000, 1.5, 60_000), True)
images = through_outage(lambda: client.generate.text_to_image(request={"prompt": "a", "seed": 3}, retries=retries))
equal(images.image_response.images[0].seed, 3)
response = client.generate.text_to_image(
    request={"prompt": "impatient", "model_id": SLOW_MODEL, "num_inference_steps": 1}, retries=retries, timeout_ms=1_000
)
equal(response.image_response.images[0].seed, succeeded("impatient")["input"]["seed"])

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

# A caller whose line breaks loses nothing but the answer.
with raises(TransportError):
    dropped(lambda: generate(prompt="dropped", model_id=SLOW_MODEL, num_inference_steps=1))
succeeded("dropped")
