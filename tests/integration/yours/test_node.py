"""The example in another language writes an event that a handler gets; run by `make test-node`."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from paidonce import Done, Message, handler
from paidonce.app.yours import handlers
from paidonce.app.yours.handlers import MARK

EXAMPLE = Path(__file__).parents[3] / "examples/outbox-node"

pytestmark = pytest.mark.node


def test_an_order_placed_by_node_reaches_the_handler(shop, tmp_path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=300)
    with shop.bind.begin() as tx:
        tx.execute(text("CREATE TABLE shop.orders (id text PRIMARY KEY, item text)"))
    # No other test's topic is called so.
    script = (folder / "place.mjs").read_text()
    assert script.count("'order'") == script.count("'order.placed'") == 1
    (folder / "place.mjs").write_text(script.replace("'order", f"'{shop.about}"))
    env = os.environ | {"PAIDONCE_DSN": shop.settings.dsn.get_secret_value()}
    said = subprocess.run(
        ["node", "place.mjs", "tea"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=True
    )
    got = []

    def note(_tx: Connection, message: Message) -> Done:
        got.append((message.key, message.type, json.loads(message.value)))
        return Done()

    marked = handler(f"{shop.about}.placed", consumer="stock")(note)
    shop.member(handlers.subscriber("stock", getattr(marked, MARK)))
    shop.until(lambda: bool(got))
    order = said.stdout.strip()
    assert got == [(order, f"{shop.about}.placed", {"order": order, "item": "tea"})]
    assert shop.rows("SELECT id, item FROM shop.orders") == [(order, "tea")]
