"""Does a replica remember anything between requests? Every state that a module could keep is found here.

What lives in a module or a class outlives the request, and differs from replica to replica. So it
must be provably constant, or stand below with the reason why no client notices
(docs/stateless.md, "What a replica still holds").
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: (file, name) -> why no client notices. A name of a module, of a class as `Class.name`, or a function with a cache.
ALLOWED = {
    ("app/settings.py", "settings"): "the environment, read once at the start",
    ("app/auth/trust.py", "_roots"): "the machine's certificates, read once",
    ("app/messaging/http_call.py", "_system_roots"): "the machine's certificates, read once",
    ("app/steps.py", "_names"): "the steps' names, written when modules are imported",
    ("app/steps.py", "listen"): "who measures this process: installed at its start, never by a request",
    ("app/trail/facts.py", "originals"): "of one reading: the facts are the request's own",
    ("app/trail/facts.py", "typed"): "likewise",
    ("app/trail/facts.py", "arrived"): "likewise",
    ("app/trace_context.py", "_carried"): "of the work under way: each request has a context of its own",
    ("app/tracing.py", "_under_way"): "likewise",
    ("app/tables.py", "metadata"): "the schema, written when the module is imported",
}
#: Calls that make something which cannot change, or which only the import changes, or which no answer depends on.
CONSTANT_CALLS = {
    "object": "nothing in it, only itself",
    "replace": "a new text, or a copy of what cannot change",
    "Path": "immutable",
    "frozenset": "immutable",
    "MappingProxyType": "a view that nobody writes through, of what has no other name",
    "tuple": "immutable",
    "timedelta": "immutable",
    "date": "immutable",
    "encode": "immutable",
    "ip_network": "immutable",
    "TIMESTAMP": "a type",
    "compile": "a compiled pattern",
    "text": "a statement",
    "select": "a statement",
    "TypeVar": "a type",
    "ParamSpec": "a type",
    "TypeAdapter": "a compiled schema",
    "get_args": "a tuple",
    "BeforeValidator": "read by pydantic when the class is made",
    "ConfigDict": "read by pydantic when the class is made",
    "SettingsConfigDict": "read by pydantic when the class is made",
    "Field": "read by pydantic when the class is made",
    "field": "read by dataclasses when the class is made",
    "get_logger": "a logger",
    "getLogger": "a logger",
    "Table": "the schema",
    "Operation": "a frozen declaration of a route",
    "_operation": "a frozen declaration of a route",
    "JWSRegistry": "the library's configuration",
    "claim_sql": "a string",
    "Counter": "a metric: seen by operators, by no client",
    "Gauge": "a metric: seen by operators, by no client",
    "Histogram": "a metric: seen by operators, by no client",
}
#: An annotation that the type checker lets nobody write through.
READ_ONLY = {"Mapping", "Sequence", "Collection", "frozenset", "tuple", "Literal"}
CACHES = {"cache", "lru_cache", "cached_property"}
#: What writes into a collection. One in CAPITALS that is made with its contents, and never written, is a constant.
WRITES = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem", "popleft",
    "remove", "setdefault", "sort", "update",
}  # fmt: skip
CONSTANT_NAME = re.compile(r"_?[A-Z][A-Z0-9_]*")


def mutable(value: ast.expr | None) -> str | None:
    """Say what in an expression could change later; None when nothing can."""
    match value:
        case None | ast.Constant() | ast.Name() | ast.Attribute() | ast.Lambda() | ast.JoinedStr() | ast.Compare():
            return None
        case ast.Tuple(elts=parts) | ast.BoolOp(values=parts):
            return next(filter(None, map(mutable, parts)), None)
        case ast.BinOp(left=left, right=right):
            # Two types joined, two strings, or two collections: the last are named by their own parts.
            return mutable(left) or mutable(right)
        case ast.UnaryOp(operand=part) | ast.Starred(value=part):
            return mutable(part)
        case ast.Subscript():
            return None  # a type, or a part of something that is judged where it stands
        case ast.IfExp(body=one, orelse=other):
            return mutable(one) or mutable(other)
        case ast.Call(func=function):
            name = getattr(function, "attr", None) or getattr(function, "id", "?")
            return None if name in CONSTANT_CALLS else f"{name}(…)"
        case _:
            return type(value).__name__


def read_only(annotation: ast.expr) -> bool:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return (getattr(outer, "attr", None) or getattr(outer, "id", None)) in READ_ONLY


def full(value: ast.expr | None) -> bool:
    """Tell whether a collection is made with its contents: an empty one is there to be filled."""
    match value:
        case ast.Dict(keys=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return bool(parts)
        case ast.ListComp() | ast.SetComp() | ast.DictComp():
            return True
        case ast.BinOp(left=left, right=right):
            return full(left) or full(right)
        case _:
            return False


def written(tree: ast.AST) -> set[str]:
    """Return the names of the collections that something is put into or taken out of."""
    into = []
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=target, ctx=ast.Store() | ast.Del()) | ast.AugAssign(target=target):
                into.append(target)
            case ast.Call(func=ast.Attribute(value=target, attr=name)) if name in WRITES:
                into.append(target)
    return {getattr(target, "attr", None) or getattr(target, "id", "") for target in into}


def kept(source: str, written_elsewhere: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield name and kind of everything in a module that outlives a call and can change."""
    tree = ast.parse(source)
    filled = written_elsewhere | written(tree)
    for name, kind, value in _in(tree):
        if not (full(value) and CONSTANT_NAME.fullmatch(name) and name not in filled):
            yield name, kind


def _in(tree: ast.Module) -> Iterator[tuple[str, str, ast.expr | None]]:
    yield from _assigned(tree.body, "")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from _assigned(node.body, f"{node.name}.")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_function(node)


def _assigned(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str, ast.expr | None]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                names = [name for target in targets for name in _names(target)]
            case ast.AnnAssign(target=target, value=value, annotation=annotation):
                if read_only(annotation):
                    continue
                names = _names(target)
            case ast.AugAssign(target=target, value=value):
                names = _names(target)
            case ast.If(body=inner, orelse=other) | ast.Try(body=inner, orelse=other):
                yield from _assigned([*inner, *other], prefix)
                continue
            case ast.With(body=inner) | ast.For(body=inner) | ast.While(body=inner):
                yield from _assigned(inner, prefix)
                continue
            case _:
                continue
        kind = mutable(value)
        if kind is not None:
            yield from ((prefix + name, kind, value) for name in names)


def _names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Tuple | ast.List):
        return [name for part in target.elts for name in _names(part)]
    return [ast.unparse(target)]


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str, None]]:
    decorators = {
        getattr(part, "attr", None) or getattr(part, "id", None)
        for decorator in node.decorator_list
        for part in (decorator.func if isinstance(decorator, ast.Call) else decorator,)
    }
    if decorators & CACHES:
        yield node.name, "a cache", None
    defaults = [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
    yield from ((node.name, f"a default that is kept: {kind}", None) for kind in map(mutable, defaults) if kind)
    if any(isinstance(part, ast.Global) for part in ast.walk(node)):
        yield node.name, "global", None


def found() -> set[tuple[str, str, str]]:
    paths = sorted(path for folder in ("app", "console") for path in (ROOT / folder).rglob("*.py"))
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    everywhere = frozenset(name for source in sources.values() for name in written(ast.parse(source)))
    return {(file, *each) for file, source in sources.items() for each in kept(source, everywhere)}


def test_nothing_in_a_module_outlives_a_request() -> None:
    unexplained = sorted(each for each in found() if each[:2] not in ALLOWED)
    assert unexplained == [], "keep it in PostgreSQL or Valkey, or in an object that app/main.py opens; or say why not"


def test_every_reason_is_still_needed() -> None:
    assert set(ALLOWED) - {each[:2] for each in found()} == set()


@pytest.mark.parametrize(
    "source",
    [
        "sessions = {}",
        "carts: dict[str, str] = {}",
        "seen = set()",
        "seen = [one for one in range(3)]",
        "SESSIONS = {}",
        "PRICES = {'a': 1}\ndef learn(one):\n    PRICES[one] = 2",
        "PRICES = {'a': 1} | {'b': 2}\ndef learn(one):\n    PRICES.update(one)",
        "SEEN = ['a']\ndef learn(one):\n    SEEN.append(one)",
        "last = defaultdict(list)",
        "cache = Cache()",
        "limits = (1, [])",
        "one, other = 1, {}",
        "if True:\n    seen = {}",
        "class Shop:\n    carts = {}",
        "class Shop:\n    class Inner:\n        carts: dict[str, str] = {}",
        "@lru_cache\ndef price(client): ...",
        "@functools.cache\ndef price(client): ...",
        "def add(item, cart=[]): ...",
        "def add(item, *, cart={}): ...",
        "count = 0\ndef add():\n    global count\n    count += 1",
        "add.calls = {}",
        "counter = itertools.count()",
        "state = contextvars.ContextVar('state', default={})",
    ],
)
def test_what_remembers_would_be_found(source: str) -> None:
    assert list(kept(source))


@pytest.mark.parametrize(
    "source",
    [
        "LIMIT = 3",
        "NAMES = frozenset({'a'})",
        "RULES: Mapping[str, int] = {'a': 1}",
        "PAIR = ('a', 2, frozenset(()))",
        "_PATTERN = re.compile('a')",
        "PRICES = {'a': 1}\ndef price(one):\n    return PRICES[one]",
        "class Shop:\n    def __init__(self):\n        self.carts = {}",
        "def add():\n    found = []\n    return found",
    ],
)
def test_what_does_not_would_not(source: str) -> None:
    assert list(kept(source)) == []
