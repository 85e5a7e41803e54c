"""The Python client of OpenAI."""

import base64
import os
import time

import openai
from expect import *
from point import *

WEBP, JPEG = b"RIFF", b"\xff\xd8\xff"

# Base64 unless the caller wants a URL.
answer = client.images.generate(prompt="a red circle")
assert base64.b64decode(answer.data[0].b64_json).startswith(PNG)
equal((answer.size, answer.output_format), ("64x64", "png"))
assert abs(answer.created - time.time()) < 60

answer = client.images.generate(prompt="a red circle", model=FAST_MODEL, response_format="url", n=3, size="128x64")
equal(len({image.url for image in answer.data}), 3)
assert fetch(answer.data[0].url).startswith(PNG)
equal(answer.size, "128x64")

for output_format, magic in [("webp", WEBP), ("jpeg", JPEG), ("png", PNG)]:
    answer = client.images.generate(
        prompt="a red circle", n=2, output_format=output_format, output_compression=80, quality="high",
        moderation="low", background="auto", user="somebody", size="auto",
        extra_body={"seed": 7, "steps": 2, "negative_prompt": "blue", "guidance_scale": 3.0},
    )
    equal(answer.output_format, output_format)
    for image in answer.data:
        assert base64.b64decode(image.b64_json).startswith(magic)
    # What the client does not know it keeps.
    equal([image.seed for image in answer.data], [7, 8])

# Streams: each picture as soon as it is made.
events = list(client.images.generate(prompt="a red circle", n=2, stream=True, partial_images=1))
completed = [event for event in events if event.type == "image_generation.completed"]
equal(len(completed), 2)
assert all(base64.b64decode(event.b64_json).startswith(PNG) for event in completed)
equal((completed[0].size, completed[0].usage.total_tokens), ("64x64", 0))
events = list(client.images.generate(prompt="slow", model=SLOW_MODEL, stream=True, partial_images=2, extra_body={"steps": 5}))
partial = [event for event in events if event.type == "image_generation.partial_image"]
equal([event.partial_image_index for event in partial], [0, 1])
assert all(base64.b64decode(event.b64_json).startswith(WEBP) for event in partial)
equal(events[-1].type, "image_generation.completed")
with raises(openai.APIError) as raised:
    list(client.images.generate(prompt="a [fake:invalid_input]", stream=True))
equal(raised[0].code, "invalid_input")

models = {model.id: model for model in client.models.list()}
assert FAST_MODEL in models and models[FAST_MODEL].object == "model"
equal(client.models.retrieve(FAST_MODEL).id, FAST_MODEL)

# Captions.
uri = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
look = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": uri}}]}
completion = client.chat.completions.create(model=FAST_MODEL + "-captions", messages=[look])
assert completion.choices[0].message.content and completion.choices[0].finish_reason == "stop"
start = {"role": "assistant", "content": "a picture of"}
completion = client.chat.completions.create(model=FAST_MODEL + "-captions", messages=[look, start])
assert completion.choices[0].message.content.startswith("a picture of"), completion

# Errors, as the client tells them. It repeats what it thinks is worth it.
with raises(openai.BadRequestError) as raised:
    client.images.generate(prompt="a", n=99)
equal((raised[0].param, raised[0].code, raised[0].type), ("n", "invalid_value", "invalid_request_error"))
with raises(openai.BadRequestError) as raised:
    client.images.generate(prompt="a", size="huge")
equal(raised[0].param, "size")
with raises(openai.BadRequestError) as raised:
    client.images.generate(prompt="a", extra_body={"colour": "red"})
equal(raised[0].param, "colour")
with raises(openai.BadRequestError) as raised:
    client.images.generate(prompt="")
equal(raised[0].param, "prompt")
with raises(openai.NotFoundError) as raised:
    client.images.generate(prompt="a", model="nobody/nothing")
equal((raised[0].param, raised[0].code), ("model", "model_not_found"))
with raises(openai.NotFoundError):
    client.models.retrieve("nobody/nothing")
with raises(openai.NotFoundError):
    client.embeddings.create(model="x", input="y")
with raises(openai.AuthenticationError) as raised:
    client.with_options(api_key="wrong").images.generate(prompt="a")
equal(raised[0].code, "invalid_api_key")
with raises(openai.BadRequestError) as raised:
    client.images.generate(prompt="a [fake:invalid_input]")
equal(raised[0].code, "invalid_input")
with raises(openai.BadRequestError) as raised:
    client.chat.completions.create(model=FAST_MODEL + "-captions", messages=[{"role": "user", "content": "Hello"}])
equal(raised[0].param, "messages")
with raises(openai.BadRequestError) as raised:
    wrong = "data:image/png;base64," + base64.b64encode(b"hello").decode()
    client.chat.completions.create(
        model=FAST_MODEL + "-captions",
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": wrong}}]}],
    )

# A job that fails for good is not asked for again.
started = time.monotonic()
with raises(openai.InternalServerError) as raised:
    client.images.generate(prompt="a [fake:not_finite]")
equal(raised[0].response.headers["x-should-retry"], "false")

# Limits, of a key and of the whole.
impatient = client.with_options(max_retries=0)
with raises(openai.InternalServerError) as raised:
    impatient.with_options(api_key=BUSY_KEY).images.generate(prompt="a")
equal((raised[0].status_code, raised[0].code, raised[0].type), (503, "overloaded", "server_error"))
assert "too many jobs wait" in raised[0].message, raised
with raises(openai.RateLimitError) as raised:
    exhaust(impatient.with_options(api_key=LIMITED_KEY).models.list)
equal((raised[0].code, raised[0].type), ("rate_limit_exceeded", "requests"))
assert "too many requests" in raised[0].message, raised
with raises(openai.APIStatusError) as raised:
    client.images.generate(prompt="a" * 17_000_000)
equal((raised[0].status_code, raised[0].code), (413, "too_large"))

# Both pass: the client waits as it is told to.
assert FAST_MODEL in {model.id for model in client.with_options(api_key=LIMITED_KEY).models.list()}
equal(through_outage(lambda: client.images.generate(prompt="a", extra_body={"seed": 3})).data[0].seed, 3)

# A job that is canceled while its caller waits.
def canceled():
    with raises(openai.ConflictError) as raised:
        client.images.generate(prompt="canceled", model=IDLE_MODEL)
    return raised[0].code


equal(at_once(canceled, lambda: cancel("canceled"))[0], "job_canceled")
equal(len(jobs_of("canceled")), 1)

# The client repeats a request whose line broke, and finds the job that runs.
answer = dropped(lambda: client.images.generate(prompt="dropped", model=SLOW_MODEL, extra_body={"steps": 1}))
equal((len(answer.data), answer.id), (1, succeeded("dropped")["id"]))
# Not one whose answer has begun: its caller is told. Nor does a job end because its caller has seen enough.
stream = client.images.generate(prompt="broken off", model=IDLE_MODEL, stream=True)
control("cut")
with raises(openai.APIConnectionError):
    list(stream)
client.images.generate(prompt="seen enough", model=IDLE_MODEL, stream=True).close()
for prompt in "broken off", "seen enough":
    equal([job["state"] for job in jobs_of(prompt)], ["queued"])
    cancel(prompt)

# Two callers at once, of whom each gets their own.
slow, fast = at_once(
    lambda: client.images.generate(prompt="slow", model=SLOW_MODEL, extra_body={"seed": 1, "steps": 1}),
    lambda: client.images.generate(prompt="fast", extra_body={"seed": 2}),
)
equal((slow.data[0].seed, fast.data[0].seed), (1, 2))
