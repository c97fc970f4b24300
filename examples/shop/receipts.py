"""How does the receipt get to the customer? By SMTP, under a Message-ID that is made of the order's id.

The limit of SMTP: a server takes a message with one last line and says so with one answer. Where that answer is lost,
nobody can tell whether it took it, and no SMTP server looks at the Message-ID before it takes the next. So a receipt is
sent at least once, and again where an answer was lost, always under the same Message-ID; some mailboxes show such
copies as one, none has to. What must not happen twice does not go by SMTP.
"""

import os
from datetime import timedelta
from email.message import EmailMessage
from uuid import UUID

import aiosmtplib
from pydantic import BaseModel
from sqlalchemy import Connection, text

from paidonce import effects

#: Seconds for each step of the talk; the whole call has PAIDONCE_EFFECT_CALL_S.
SMTP_S = 5.0
SENT = text("UPDATE shop.orders SET receipt_sent = true WHERE id = CAST(:order AS uuid)")


class Receipt(BaseModel):
    """What the customer is written; kept as it is, so that every attempt sends the same."""

    order: UUID
    to: str
    item: str
    pieces: int


def note_sent(tx: Connection, effect: effects.Effect, answer: effects.Definite) -> None:
    """Tell the order that its receipt was taken; a refused one is a dead letter besides."""
    if isinstance(answer, effects.Succeeded):
        tx.execute(SENT, {"order": effect.subject})


@effects.executor("receipt", repeats_for=timedelta(days=1), settled=note_sent)
async def send_receipt(effect: effects.Effect) -> effects.Answer:
    """Hand the receipt to the SMTP server of SHOP_SMTP, host:port, and say what is known."""
    host, _, port = os.environ.get("SHOP_SMTP", "127.0.0.1:8025").partition(":")
    server = aiosmtplib.SMTP(hostname=host, port=int(port or 25), timeout=SMTP_S)
    try:
        await server.connect()
    except (aiosmtplib.SMTPException, OSError) as error:
        return effects.NotSent(f"no SMTP server: {type(error).__name__}")
    try:
        await server.send_message(message(effect))
    except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as error:
        return refused(error)
    except (aiosmtplib.SMTPException, OSError) as error:
        return effects.NoAnswer(type(error).__name__)
    finally:
        server.close()
    return effects.Succeeded({})


def message(effect: effects.Effect) -> EmailMessage:
    """Return the receipt; the same bytes every time but for what servers add."""
    receipt = Receipt.model_validate_json(effect.request)
    made = EmailMessage()
    made["From"], made["To"] = "shop@shop.example", receipt.to
    made["Subject"] = "Your order is on its way"
    made["Message-ID"] = f"<receipt-{effect.subject}@shop.example>"
    made.set_content(f"Order {receipt.order}: {receipt.pieces} of {receipt.item}. Thank you.\n")
    return made


def refused(error: aiosmtplib.SMTPResponseException | aiosmtplib.SMTPRecipientsRefused) -> effects.Answer:
    """Say what an answer means: 5xx is the last word, 4xx is not (RFC 5321, section 4.2.1)."""
    first = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    if first.code >= 500:
        return effects.Refused(f"smtp-{first.code}", {})
    return effects.NotSent(f"SMTP {first.code}")
