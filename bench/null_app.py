"""What does a route cost that does nothing? It checks the same token and the same body as ours, and answers 201."""

import os

import uvicorn
from fastapi import FastAPI, Request, Response

from paidonce.app.api.schemas import PaymentCreate
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.settings import settings


def create_app() -> FastAPI:
    """Return an ordinary FastAPI application with the one route."""
    app = FastAPI()
    verifier = Verifier(settings(), Trust(settings()))

    @app.post("/v1/payments", status_code=201)
    async def nothing(draft: PaymentCreate, request: Request) -> Response:
        await verifier.verify(request.headers.getlist("authorization"))
        return Response(b'{"amount": %d}' % draft.amount, 201, media_type="application/json")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(), port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools", access_log=False, ws="none"
    )
