"""What can be done next with an answer? The `links` of the OpenAPI document, which machines follow.

They say what prose only hints at: which part of an answer is which parameter of the request that comes next.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from paidonce.app.api.cart_schemas import Cart
from paidonce.app.api.schemas import Customer, Payment, Payments, Refund, WebhookEndpoint

#: name -> Link Object (OpenAPI 3.1)
Links = dict[str, Mapping[str, Any]]

_ID = "$response.body#/id"
_PAYMENT = {"payment_id": _ID}
_PAYMENT_OF_REFUND = {"payment_id": "$response.body#/payment_id"}
_OF_REFUND = {**_PAYMENT_OF_REFUND, "refund_id": _ID}
_ETAG = {"header.If-Match": "$response.header.ETag"}


def _link(operation_id: str, description: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    return {"operationId": operation_id, "description": description, "parameters": dict(parameters)}


def _of_version(tag: str, what: str, named: Mapping[str, str], *writes: str) -> Links:
    """Return the links to a resource that is read anew, or written only if it still is this version."""
    found = {f"Get{what}": _link(f"{tag}_get", "As it is then.", named)}
    for write in writes:
        found[f"{write.capitalize()}{what}"] = _link(
            f"{tag}_{write}", "If it is still this version.", {**named, **_ETAG}
        )
    return found


#: model of an answer -> what can be done next with it
LINKS: Mapping[type[BaseModel], Links] = {
    Payment: {
        **_of_version("payments", "Payment", _PAYMENT, "patch"),
        "CancelPayment": _link("payments_cancel", "While it is pending.", _PAYMENT),
        "RefundPayment": _link("refunds_create", "Once it is captured.", _PAYMENT),
        "ListRefunds": _link("refunds_list", "What was given back of it.", _PAYMENT),
    },
    Payments: {
        "NextPage": _link("payments_list", "The page after this one.", {"cursor": "$response.body#/next_cursor"})
    },
    Refund: {
        "GetRefund": _link("refunds_get", "See what has become of it.", _OF_REFUND),
        "GetPaymentOfRefund": _link("payments_get", "What is left of it.", _PAYMENT_OF_REFUND),
    },
    Customer: {
        **_of_version("customers", "Customer", {"customer_id": _ID}, "put", "patch", "delete"),
        "ListPaymentsOfCustomer": _link("payments_list", "Newest first.", {"customer_id": _ID}),
    },
    Cart: _of_version("carts", "Cart", {"cart_id": _ID}, "put", "checkout", "delete"),
    WebhookEndpoint: _of_version("webhook_endpoint", "WebhookEndpoint", {}, "put", "delete"),
}
