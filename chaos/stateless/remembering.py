"""What is a server that remembers like? Sessions and carts in a dictionary of the process: right, while there is one.

It stands here to fail beside ours (`make demo-stateless`). Nothing else may use it.
"""

import sys
from secrets import token_urlsafe

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from paidonce.chaos.stateless.caller import Caller
from paidonce.devstack.ports import LOOPBACK


def create() -> Starlette:
    """Return the server; what it knows of its clients is in this function's variables."""
    #: session -> cart
    sessions: dict[str, list[dict[str, int]]] = {}

    async def login(_request: Request) -> JSONResponse:
        session = token_urlsafe(16)
        sessions[session] = []
        return JSONResponse({"session": session}, 201)

    async def add(request: Request) -> JSONResponse:
        cart = sessions.get(request.headers.get("x-session", ""))
        if cart is None:
            return JSONResponse({"error": "log in first"}, 401)
        cart.append(await request.json())
        return JSONResponse({"items": len(cart)})

    async def checkout(request: Request) -> JSONResponse:
        cart = sessions.get(request.headers.get("x-session", ""))
        if cart is None:
            return JSONResponse({"error": "log in first"}, 401)
        return JSONResponse({"amount": sum(item["unit_amount"] * item["quantity"] for item in cart)}, 201)

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/login", login, methods=["POST"]),
            Route("/cart", add, methods=["POST"]),
            Route("/checkout", checkout, methods=["POST"]),
            Route("/healthz", healthz),
        ]
    )


async def converse(caller: Caller) -> None:
    """Hold the shortest conversation with it: login, two items, checkout; raises UnexpectedError."""
    caller.headers["X-Session"] = (await caller.ask("POST", "/login", {201})).json()["session"]
    await caller.ask("POST", "/cart", {200}, json={"unit_amount": 950, "quantity": 2})
    await caller.ask("POST", "/cart", {200}, json={"unit_amount": 99, "quantity": 1})
    await caller.ask("POST", "/checkout", {201})


if __name__ == "__main__":
    uvicorn.run(create(), host=LOOPBACK, port=int(sys.argv[1]), log_config=None)
