"""Our own Python client."""

import os
import time
import uuid

import httpx
from darkroom import Darkroom, Incomplete, JobEnded, Refused, Unexpected, verify
from darkroom.rest.api.jobs import delete_job
from darkroom.rest.api.webhooks import (
    create_webhook,
    delete_webhook,
    list_deliveries,
    rotate_webhook_secret,
    show_webhook,
    test_webhook,
)
from darkroom.rest.models import Job, JobMessage, NewWebhook, Preview, Progress, TestMessage
from expect import *
from standardwebhooks.webhooks import WebhookVerificationError


class Broken(httpx.BaseTransport):
    """Breaks in the ways that are told, one a request, and works after that."""

    def __init__(self, *ways):
        self.ways = list(ways)
        self.asked = 0
        self.real = httpx.HTTPTransport()

    def handle_request(self, request):
        self.asked += 1
        match self.ways.pop(0) if self.ways else None:
            case "refused":
                raise httpx.ConnectError("no connection", request=request)
            case "lost":
                # The service has taken it, and its answer does not arrive.
                self.real.handle_request(request).read()
                raise httpx.ReadError("the connection broke", request=request)
            case int(status):
                return httpx.Response(status, headers={"Retry-After": "0"}, json={}, request=request)
            case other:
                assert other is None
                return self.real.handle_request(request)


def pictures(prompt, **members):
    return {"pipeline": "text-to-image", "input": {"prompt": prompt}, **members}


client = Darkroom()

# What breaks on the way is made again, and done once.
label = {"test": str(uuid.uuid4())}
lines = Broken("refused", 503, "lost", 429, "lost")
broken = Darkroom(transport=lines)
job = broken.submit(pictures("a", metadata=label))
equal(lines.asked, 6)
equal([one.id for one in client.jobs(metadata=label)], [job.id])
with raises(httpx.ConnectError):
    Darkroom(transport=Broken(*["refused"] * 100), patience=0.5).job(job.id)
# An answer that is none of the service's.
for call in (lambda client: client.job(job.id), lambda client: list(client.follow(waiting))):
    waiting = client.submit(pictures("slow [fake:step_ms=20000]"))
    with raises(Unexpected) as raised:
        call(Darkroom(transport=Broken(*[503] * 100), patience=0.0))
    equal(raised[0].status, 503)
    client.cancel(waiting)
# What would be done twice is not repeated.
lines = Broken(None, 503)
once = Darkroom(transport=lines)
webhook = create_webhook.sync(client=once.rest, body=NewWebhook(url="https://shop.example/hooks"))
with raises(Exception):
    rotate_webhook_secret.sync_detailed(webhook.id, client=once.rest)
equal(lines.asked, 2)
delete_webhook.sync(webhook.id, client=client.rest)

# Nothing is taken for a result but the file that was announced.
job = client.succeeded(job)
artifact = job.artifacts[0]
assert client.fetch(artifact).startswith(PNG)
artifact.sha256 = "0" * 64
with raises(Incomplete):
    client.fetch(artifact)

# A slow job, followed: it is told from the first state to the last, with pictures in work.
slow = client.submit(pictures("slow [fake:step_ms=1200]", model=FAST_MODEL))
told = list(client.follow(slow, previews=True))
equal({type(each) for each in told}, {Job, Progress, Preview})
equal((told[0].id, told[-1].state), (slow.id, "succeeded"))
assert any(each.content.startswith("UklGR") for each in told if isinstance(each, Preview))

# Waits end, jobs can be canceled, and ends other than success are exceptions.
slow = client.submit(pictures("slow [fake:step_ms=20000]", model=FAST_MODEL))
with raises(TimeoutError):
    client.wait(slow, timeout=0.5)
equal(client.cancel(slow).state, "canceled")
with raises(JobEnded) as raised:
    client.succeeded(slow)
equal(raised[0].job.state, "canceled")
with raises(JobEnded) as raised:
    client.generate("a [fake:invalid_input]")
equal(raised[0].job.error.code, "invalid_input")
with raises(JobEnded) as raised:
    client.generate("a [fake:step_ms=20000]", deadline_seconds=1)
equal(raised[0].job.state, "expired")

# Pictures as they come, and twice is once.
stored = client.upload(PICTURE)
equal(client.upload(os.environ["PICTURE"]).id, stored.id)
assert client.caption(PICTURE, prompt="a picture of").startswith("a picture of")

# What would become of it, and what became of a batch.
equal(client.try_out(pictures("a")).pipeline, "text-to-image")
batch = client.submit_batch([pictures("a"), pictures("b")], idempotency_key="twice")
equal(client.submit_batch([pictures("a"), pictures("b")], idempotency_key="twice").id, batch.id)
equal([each.index for each in batch.jobs], [0, 1])

# Refusals name what is wrong.
for call, code in [
    (lambda: client.submit(pictures("a", model="nothing")), "unknown_model"),
    (lambda: client.generate("a", steps=0), "invalid_request"),
    (lambda: client.job("00000000-0000-0000-0000-000000000000"), "not_found"),
    (lambda: next(client.follow(client_job_that_is_gone())), "not_found"),
    (lambda: client.upload(b"no picture"), "unsupported_image"),
    (lambda: client.submit_batch([]), "invalid_request"),
    (lambda: Darkroom(api_key="wrong").generate("a"), "unauthorized"),
]:
    def client_job_that_is_gone():
        gone = client.submit(pictures("a [fake:step_ms=20000]"))
        client.cancel(gone)
        assert delete_job.sync(gone.id, client=client.rest) is None
        return gone

    with raises(Refused) as raised:
        call()
    equal(raised[0].problem.code, code)

# Webhooks: made, told, verified and looked at by what is generated.
hooks = Hooks()
webhook = create_webhook.sync(client=client.rest, body=NewWebhook(url=hooks.url, events=["job.succeeded"]))
test_webhook.sync(webhook.id, client=client.rest)
headers, body = hooks.next()
message = verify(body.encode(), headers, webhook.secret)
assert isinstance(message, TestMessage)
equal(message.data.webhook, webhook.id)
job = client.generate("a", metadata={"order": "7"})
headers, body = hooks.next()
message = verify(body.encode(), headers, webhook.secret)
assert isinstance(message, JobMessage)
equal((message.type_, message.data.id, message.data.state), ("job.succeeded", job.id, "succeeded"))
equal((message.data.metadata.to_dict(), message.data.artifacts[0].sha256), ({"order": "7"}, job.artifacts[0].sha256))
with raises(WebhookVerificationError):
    verify(body.encode() + b" ", headers, webhook.secret)
# Of a job that was deleted before it was told.
gone = JobMessage.from_dict(
    {"type": "job.failed", "timestamp": "2026-01-31T12:00:00.903Z",
     "data": {"id": str(job.id), "state": "failed", "links": {"self": None}}}
)
equal((gone.data.id, gone.data.links.self_), (job.id, None))


def delivered():
    deliveries = list_deliveries.sync(webhook.id, client=client.rest, state="delivered").deliveries
    return [each.event for each in deliveries]


until = time.monotonic() + 30
while delivered() != ["job.succeeded", "webhook.test"]:
    assert time.monotonic() < until, delivered()
    time.sleep(0.1)
equal(show_webhook.sync(webhook.id, client=client.rest).url, hooks.url)
assert delete_webhook.sync(webhook.id, client=client.rest) is None

# Two callers at once, of whom each gets their own.
one, other = at_once(lambda: client.generate("one", seed=1), lambda: client.generate("other", seed=2, model=SLOW_MODEL, steps=1))
equal((one.input_.seed, other.input_.seed), (1, 2))
client.close()
