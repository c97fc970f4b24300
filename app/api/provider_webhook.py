"""The provider tells us what became of a charge or refund: signed, and worked on once (S16 is in its store)."""

from paidonce.app.api import body as bodies
from paidonce.app.api.operation import Call, Operation
from paidonce.app.api.reply import Reply
from paidonce.app.api.schemas import ProviderWebhook
from paidonce.app.api.transactions import write
from paidonce.app.errors import BadRequestError, ConfigurationError, UnavailableError
from paidonce.app.payments import provider_webhook
from paidonce.app.webhooks.signing import WebhookSignatureError


async def receive(call: Call) -> Reply:
    """Take one webhook, signed as the chosen provider signs; the second time it changes nothing."""
    settings = call.services.settings
    raw = await bodies.read(call, settings.api_body_bytes_max)
    webhooks = call.services.webhooks
    for name in webhooks.headers:
        if len(call.headers.getlist(name)) > 1:
            raise WebhookSignatureError(f"there is more than one {name} header")
    try:
        webhook_id = webhooks.verify(settings, call.headers, raw, now=call.services.clock.now())
    except ConfigurationError as error:
        raise UnavailableError("This installation takes no webhooks yet.") from error
    bodies.check_media_type(call, call.operation.media_types)
    bodies.parse(raw)
    await write(call.services.engine, provider_webhook.handle, webhook_id, raw, webhooks.read)
    call.services.hinter.hint()
    return Reply(204)


OPERATIONS = (
    Operation(
        method="POST",
        path="/webhooks/provider",
        handler=receive,
        tag="provider-webhook",
        summary="Take a webhook of the provider",
        body=ProviderWebhook,
        body_example={
            "type": "charge.captured",
            "data": {
                "id": "ch_1",
                "status": "captured",
                "amount": 1999,
                "currency": "EUR",
                "reference": "019b0f2e-0b5c-7c31-9d0a-4d8e3a1f6c22",
                "decline_code": None,
            },
        },
        headers=("webhook-id", "webhook-timestamp", "webhook-signature"),
        answers={204: None},
        problems=(WebhookSignatureError, BadRequestError, UnavailableError),
    ),
)
