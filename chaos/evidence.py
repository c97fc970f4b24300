"""What does a run leave behind? A folder from which it can be judged again, without the stack.

`history.jsonl`, `faults.jsonl` and `deliveries.jsonl` were written while it went on; the rest is
what the witnesses said afterwards: `tables.json`, `topic.json`, `provider.sqlite`, and `run.json` for what was asked.
"""

import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from paidonce.chaos import growth, witnesses
from paidonce.chaos.facts import (
    Drained,
    EffectLine,
    EffectRow,
    EventRow,
    Facts,
    LedgerLine,
    PaymentRow,
    RefundRow,
    Result,
    TopicRecord,
    Wait,
    WindowRow,
)
from paidonce.chaos.fault_log import faults
from paidonce.chaos.history import operations

#: The members of Facts that come from tables, and their rows.
ROWS: dict[str, type] = {
    "payments": PaymentRow,
    "refunds": RefundRow,
    "ledger": LedgerLine,
    "effects": EffectRow,
    "effect_history": EffectLine,
    "windows": WindowRow,
    "events": EventRow,
    "waits": Wait,
}
TEXTS = ("parked", "dead_letters", "unhandled")
#: Sets of words that were told to the run, not found in it.
ASKED = ("endpoints", "expected_unknown", "expected_answers")


class EvidenceError(Exception):
    """A folder does not hold the evidence of a run; the message says what is missing or wrong."""


def save(folder: Path, result: Result) -> None:
    """Write what the witnesses said into the folder, beside what was written while the run went on."""
    facts = result.facts
    tables = {name: [asdict(row) for row in getattr(facts, name)] for name in ROWS}
    named = {str(number): name for number, name in facts.named.items()}
    texts = {name: list(getattr(facts, name)) for name in TEXTS}
    _write(folder / "tables.json", tables | texts | {"named": named, "at_rest": facts.at_rest})
    _write(folder / "topic.json", [asdict(record) for record in facts.topic])
    asked = asdict(replace(result, facts=Facts()))
    asked.pop("facts")
    _write(folder / "run.json", asked | {name: sorted(getattr(facts, name)) for name in ASKED})


def load(folder: Path) -> Result:
    """Read a run.

    Raises:
        EvidenceError: the folder does not hold one.
    """
    try:
        return _read(folder)
    except FileNotFoundError as error:
        raise EvidenceError(f"{folder} holds no evidence of a run: {error.filename} is missing") from None
    except (ValueError, TypeError, KeyError, sqlite3.Error) as error:
        raise EvidenceError(f"the evidence in {folder} cannot be read: {error}") from error


def _read(folder: Path) -> Result:
    asked = orjson.loads((folder / "run.json").read_bytes())
    tables = orjson.loads((folder / "tables.json").read_bytes())
    said: dict[str, Any] = {name: [row(**fields) for fields in tables.get(name, ())] for name, row in ROWS.items()}
    said |= {name: tables[name] for name in TEXTS}
    # A folder that an older version left has none.
    said["named"] = {int(number): name for number, name in tables.get("named", {}).items()}
    said["at_rest"] = tables.get("at_rest", True)
    said |= {name: frozenset(asked.pop(name)) for name in ASKED}
    facts = Facts(
        **said,
        **witnesses.journal(folder / "provider.sqlite"),
        operations=operations(folder / "history.jsonl"),
        topic=[TopicRecord(**record) for record in orjson.loads((folder / "topic.json").read_bytes())],
        deliveries=witnesses.mailbox(folder / "deliveries.jsonl"),
        faults=faults(folder / "faults.jsonl"),
        sizes=growth.sizes(folder),
        drain_within_s=asked["drain_within_s"],
    )
    return Result(**asked | {"drained": Drained(**asked["drained"])}, facts=facts)


def _write(path: Path, content: Any) -> None:
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
