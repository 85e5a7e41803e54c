"""Messages of webhooks."""

import json
from collections.abc import Mapping

from standardwebhooks.webhooks import Webhook

from darkroom.rest.models import JobMessage, TestMessage


def verify(body: bytes, headers: Mapping[str, str], secret: str) -> JobMessage | TestMessage:
    """The message that was posted, when its signature is good.

    `body` is the request's body as it came, `secret` the webhook's, `whsec_…`.

    Raises `standardwebhooks.webhooks.WebhookVerificationError` when it was not signed with the secret, or not within
    the last five minutes.
    """
    Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
    message = json.loads(body)
    return TestMessage.from_dict(message) if message["type"] == "webhook.test" else JobMessage.from_dict(message)
