"""Debezium cannot take the column `headers` apart, so it comes as one header, and is taken apart when it is read."""

import pytest

from paidonce.app.messaging.envelope import FOLDED, MalformedMessageError, decode

WHOLE = [("message-id", b"1"), ("ce_type", b"payment.captured")]


def test_folded_headers_are_headers_again() -> None:
    folded = (FOLDED, b'{"TraceParent": "00-1", "ce_dataschema": "v2"}')
    message = decode(b"k", b"{}", [*WHOLE, folded])
    assert message.headers == {
        "message-id": "1",
        "ce_type": "payment.captured",
        "traceparent": "00-1",
        "ce_dataschema": "v2",
    }


def test_they_do_not_speak_over_the_messages_own() -> None:
    message = decode(b"k", b"{}", [*WHOLE, (FOLDED, b'{"message-id": "2", "CE_TYPE": "payment.refunded"}')])
    assert (message.message_id, message.type) == ("1", "payment.captured")


@pytest.mark.parametrize("folded", [b"", b"{", b"[]", b'"text"', b'{"n": 1}', b'{"n": null}', b"null"])
def test_what_is_no_object_of_texts_is_malformed(folded: bytes) -> None:
    with pytest.raises(MalformedMessageError, match=FOLDED):
        decode(b"k", b"{}", [*WHOLE, (FOLDED, folded)])
