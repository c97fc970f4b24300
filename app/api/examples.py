"""How do requests and answers look? The examples of the OpenAPI document; a test holds them against the models."""

_AT = "2026-01-31T12:00:00.000000Z"
PAYMENT_ID = "019b0f2e-0b5c-7c31-9d0a-4d8e3a1f6c22"
REFUND_ID = "019b0f2e-3f10-7a44-8c6b-0f5d2b7e9a11"

PAYMENT_CREATE = {
    "amount": 1999,
    "currency": "EUR",
    "payment_method": "pm_ok",
    "reference": "order-1001",
    "metadata": {"cart": "c-77"},
}
PAYMENT = {
    "id": PAYMENT_ID,
    "object": "payment",
    "status": "pending",
    "amount": 1999,
    "currency": "EUR",
    "amount_refunded": 0,
    "customer_id": None,
    "reference": "order-1001",
    "description": None,
    "metadata": {"cart": "c-77"},
    "decline_code": None,
    "created_at": _AT,
    "updated_at": _AT,
}
CANCELED = PAYMENT | {"status": "canceled"}
PAYMENTS = {"data": [PAYMENT], "next_cursor": None}
PAYMENT_PATCH = {"description": "Two books", "metadata": {"cart": None}}
REFUND_CREATE = {"amount": 500, "reason": "one book came back"}
REFUND = {
    "id": REFUND_ID,
    "object": "refund",
    "payment_id": PAYMENT_ID,
    "status": "pending",
    "amount": 500,
    "reason": "one book came back",
    "failure_code": None,
    "created_at": _AT,
    "updated_at": _AT,
}
REFUNDS = {"data": [REFUND], "next_cursor": None}
CUSTOMER_PUT = {"name": "Ada Example", "email": "ada@example.com", "metadata": {"tier": "gold"}}
CUSTOMER = {"id": "c-1", "object": "customer", **CUSTOMER_PUT, "created_at": _AT, "updated_at": _AT}
CUSTOMER_PATCH = {"email": None}
CART_PUT = {
    "currency": "EUR",
    "items": [
        {"name": "A book", "sku": "978-0", "unit_amount": 950, "quantity": 2},
        {"name": "A pen", "unit_amount": 99, "quantity": 1},
    ],
}
CART = {
    "id": "c-77",
    "object": "cart",
    "currency": "EUR",
    "items": [
        {"name": "A book", "sku": "978-0", "unit_amount": 950, "quantity": 2, "amount": 1900},
        {"name": "A pen", "sku": None, "unit_amount": 99, "quantity": 1, "amount": 99},
    ],
    "amount": 1999,
    "expires_at": _AT,
}
CART_CHECKOUT = {"payment_method": "pm_ok", "reference": "order-1001", "metadata": {"cart": "c-77"}}
WEBHOOK_ENDPOINT_PUT = {
    "url": "https://shop.example.com/hooks/paidonce",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "events": ["payment.captured", "payment.declined"],
}
WEBHOOK_ENDPOINT = {
    "object": "webhook_endpoint",
    "url": "https://shop.example.com/hooks/paidonce",
    "events": ["payment.captured", "payment.declined"],
    "created_at": _AT,
    "updated_at": _AT,
}
ME = {
    "sub": "acme-server",
    "tenant": "acme",
    "scopes": ["payments:read", "payments:write"],
    "roles": [],
    "expires_at": "2026-01-31T13:00:00Z",
}
_MESSAGE_ID = "019b0f2e-0b5d-7e02-b1c4-5a1f0c9d7e33"
TRAIL = {
    "object": "trail",
    "payment_id": PAYMENT_ID,
    "tenant": "acme",
    "status": "pending",
    "amount": 1999,
    "amount_refunded": 0,
    "currency": "EUR",
    "kafka": "not_looked_for",
    "complete": True,
    "gaps": 1,
    "entries": [
        {
            "at": _AT,
            "stage": "request",
            "what": "POST /v1/payments under a key: its answer is kept",
            "ids": {"key": "order-1001", "expires_at": "2026-02-03T12:00:00+00:00", "made": PAYMENT_ID},
            "gap": False,
            "removed": False,
        },
        {
            "at": _AT,
            "stage": "window",
            "what": "payment.accepted is in no window yet",
            "ids": {"message_id": _MESSAGE_ID, "shard": "1"},
            "gap": True,
            "removed": False,
        },
    ],
}
