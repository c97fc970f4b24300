"""The client as a command: `python -m examples.client pay order-1001 --amount 1250 --currency EUR`, or `… resume`.

Ends with 0 when all is done, 1 when something was refused, 2 when nobody knows: then run `resume` until it knows.
"""

import argparse
import dataclasses
import json
import logging
import os
import sys
from pathlib import Path

import httpx

from . import Client, Intents, Ok, Outcome, Refused, Tokens

#: Seconds that one attempt may take: the API answers a duplicate of a running request within two.
ATTEMPT_S = 10.0


def main() -> int:
    """Do what the arguments say, with PAIDONCE_API, _TOKEN_URL, _CLIENT_ID and _CLIENT_SECRET from the environment."""
    arguments = _arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if arguments.verbose else logging.WARNING)
    said = os.environ
    intents = Intents(arguments.intents)
    with (
        httpx.Client(base_url=said["PAIDONCE_API"], timeout=ATTEMPT_S) as http,
        httpx.Client(timeout=ATTEMPT_S) as issuer,
    ):
        tokens = Tokens(issuer, said["PAIDONCE_TOKEN_URL"], said["PAIDONCE_CLIENT_ID"], said["PAIDONCE_CLIENT_SECRET"])
        outcomes = _do(Client(http, tokens, intents), arguments)
    intents.close()
    for name, outcome in outcomes.items():
        told = {"intent": name, "outcome": type(outcome).__name__.lower(), **dataclasses.asdict(outcome)}
        sys.stdout.write(json.dumps(told) + "\n")
    return max((_exit_code(outcome) for outcome in outcomes.values()), default=0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.client", description=__doc__)
    parser.add_argument("--intents", type=Path, default=Path("intents.sqlite"), help="the file of what is wanted")
    parser.add_argument("--verbose", action="store_true", help="say what is sent and answered")
    commands = parser.add_subparsers(dest="command", required=True)
    pay = commands.add_parser("pay", help="make a payment, once for its name")
    pay.add_argument("name", help="the intent's, such as the number of the order")
    pay.add_argument("--amount", type=int, required=True, help="minor units")
    pay.add_argument("--currency", default="EUR")
    pay.add_argument("--payment-method", default="pm_ok")
    commands.add_parser("resume", help="ask for all that is open")
    return parser.parse_args()


def _do(client: Client, arguments: argparse.Namespace) -> dict[str, Outcome]:
    if arguments.command == "resume":
        return client.resume()
    outcome = client.pay(
        arguments.name,
        amount=arguments.amount,
        currency=arguments.currency,
        payment_method=arguments.payment_method,
        reference=arguments.name,
    )
    return {arguments.name: outcome}


def _exit_code(outcome: Outcome) -> int:
    if isinstance(outcome, Ok):
        return 0
    return 1 if isinstance(outcome, Refused) else 2


if __name__ == "__main__":
    sys.exit(main())
