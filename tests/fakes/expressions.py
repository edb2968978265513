"""DynamoDB's expression language, as far as Lockside speaks it: conditions, updates and key conditions.

Source: the developer guide's grammar of condition and update expressions. Values stand in the wire shape.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeVar

T = TypeVar("T")
Item = Mapping[str, Any]
Test = Callable[["Context"], bool]
Operand = Callable[["Context"], Any]
Edit = Callable[["Context", dict[str, Any]], object]
TOKEN: Final = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-]|[#:]?[A-Za-z_][\w.]*)")
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda left, right: bool(left == right),
    "<>": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}


class ExpressionError(ValueError):
    """What the service answers with a ValidationException."""


@dataclass
class Context:
    """One item under one request; notes which placeholders were used, since unused ones are refused."""

    item: Item
    names: Mapping[str, str]
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def name(self, token: str) -> str:
        """Return the attribute a token names."""
        if not token.startswith("#"):
            return token
        self.used.add(token)
        if token not in self.names:
            raise ExpressionError(f"name {token} is not defined")
        return self.names[token]

    def operand(self, token: str) -> Any:
        """Return the wire value a token stands for; None for an absent attribute."""
        if not token.startswith(":"):
            return self.item.get(self.name(token))
        self.used.add(token)
        if token not in self.values:
            raise ExpressionError(f"value {token} is not defined")
        return self.values[token]


def holds(expression: str, context: Context) -> bool:
    """Whether an item meets a condition."""
    return _condition(expression)(context)


def updated(expression: str, context: Context) -> dict[str, Any]:
    """Return the item as an update expression leaves it; each operand is that of the item before."""
    item = dict(context.item)
    for change in _update(expression):
        change(context, item)
    return item


@lru_cache(maxsize=512)
def _condition(expression: str) -> "Test":
    parser = _Parser(_tokens(expression))
    result = parser.disjunction()
    parser.end()
    return result


@lru_cache(maxsize=512)
def _update(expression: str) -> "tuple[Edit, ...]":
    parser = _Parser(_tokens(expression))
    edits: list[Edit] = []
    while parser.more:
        match parser.take().upper():
            case "SET":
                edits += parser.listed(parser.assignment)
            case "REMOVE":
                edits += parser.listed(parser.removal)
            case "ADD":
                edits += parser.listed(parser.addition)
            case clause:
                raise ExpressionError(f"update clause {clause} is not understood")
    return tuple(edits)


def _tokens(expression: str) -> tuple[str, ...]:
    tokens: list[str] = []
    at = 0
    stripped = expression.rstrip()
    while at < len(stripped):
        found = TOKEN.match(stripped, at)
        if found is None:
            raise ExpressionError(f"expression breaks off at {stripped[at:]!r}")
        tokens.append(found.group(1))
        at = found.end()
    return tuple(tokens)


class _Parser:
    """Recursive descent. What it makes evaluates every branch, so that all placeholders are seen."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._tokens)

    def peek(self) -> str:
        return self._tokens[self._at] if self.more else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token.upper() not in expected):
            raise ExpressionError(f"expected {' or '.join(expected) or 'more'}, found {token!r}")
        self._at += 1
        return token

    def end(self) -> None:
        if self.more:
            raise ExpressionError(f"{self.peek()!r} is too much")

    def disjunction(self) -> Test:
        parts = [self._conjunction()]
        while self.peek().upper() == "OR":
            self.take()
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda context: any([part(context) for part in parts])  # noqa: C419

    def listed(self, one: Callable[[], T]) -> list[T]:
        found = [one()]
        while self.peek() == ",":
            self.take()
            found.append(one())
        return found

    def assignment(self) -> Edit:
        token = self.take()
        self.take("=")
        value = self._value()
        while self.peek() in {"+", "-"}:
            value = _sum(value, self._value_after_sign())

        def edit(context: Context, item: dict[str, Any]) -> None:
            item[context.name(token)] = value(context)

        return edit

    def removal(self) -> Edit:
        token = self.take()
        return lambda context, item: item.pop(context.name(token), None)

    def addition(self) -> Edit:
        token, addend = self.take(), self.take()

        def edit(context: Context, item: dict[str, Any]) -> None:
            name = context.name(token)
            base = context.item.get(name, {"N": "0"})
            item[name] = {"N": str(Decimal(base["N"]) + Decimal(context.operand(addend)["N"]))}

        return edit

    def _value_after_sign(self) -> Operand:
        sign = 1 if self.take() == "+" else -1
        operand = self._value()
        return lambda context: {"N": str(sign * Decimal(operand(context)["N"]))}

    def _value(self) -> Operand:
        if self.peek() != "if_not_exists":
            return _operand(self.take())
        self.take()
        self.take("(")
        present = _operand(self.take())
        self.take(",")
        fallback = self._value()
        self.take(")")

        def value(context: Context) -> Any:
            there, otherwise = present(context), fallback(context)
            return otherwise if there is None else there

        return value

    def _conjunction(self) -> Test:
        parts = [self._negation()]
        while self.peek().upper() == "AND":
            self.take()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda context: all([part(context) for part in parts])  # noqa: C419

    def _negation(self) -> Test:
        if self.peek().upper() == "NOT":
            self.take()
            inner = self._negation()
            return lambda context: not inner(context)
        return self._primary()

    def _primary(self) -> Test:
        if self.peek() == "(":
            self.take()
            result = self.disjunction()
            self.take(")")
            return result
        match self.peek():
            case "attribute_exists":
                there = self._argument()
                return lambda context: there(context) is not None
            case "attribute_not_exists":
                there = self._argument()
                return lambda context: there(context) is None
            case "begins_with":
                return self._begins_with()
        left = _operand(self.take())
        if self.peek().upper() == "BETWEEN":
            return self._between(left)
        compare = COMPARISONS[self.take(*COMPARISONS)]
        right = _operand(self.take())
        return lambda context: _compared(left(context), right(context), compare)

    def _argument(self) -> Operand:
        self.take()
        self.take("(")
        operand = _operand(self.take())
        self.take(")")
        return operand

    def _begins_with(self) -> Test:
        self.take()
        self.take("(")
        whole = _operand(self.take())
        self.take(",")
        start = _operand(self.take())
        self.take(")")

        def test(context: Context) -> bool:
            text, beginning = whole(context), start(context)
            return text is not None and str(text.get("S", "")).startswith(beginning["S"])

        return test

    def _between(self, value: Operand) -> Test:
        self.take()
        low = _operand(self.take())
        self.take("AND")
        high = _operand(self.take())

        def test(context: Context) -> bool:
            at_least = _compared(value(context), low(context), COMPARISONS[">="])
            at_most = _compared(value(context), high(context), COMPARISONS["<="])
            return at_least and at_most

        return test


def _operand(token: str) -> Operand:
    return lambda context: context.operand(token)


def _sum(one: Operand, other: Operand) -> Operand:
    def value(context: Context) -> Any:
        left, right = one(context), other(context)
        if left is None:
            raise ExpressionError("an absent attribute is no number")
        return {"N": str(Decimal(left["N"]) + Decimal(right["N"]))}

    return value


def _compared(left: Any, right: Any, compare: Callable[[Any, Any], bool]) -> bool:
    """Compare two wire values; an absent one and one of another type meet no comparison."""
    if left is None or right is None:
        return False
    (kind, one), (other_kind, other) = next(iter(left.items())), next(iter(right.items()))
    return kind == other_kind and compare(ordered(kind, one), ordered(kind, other))


def ordered(kind: str, value: Any) -> Any:
    """Return what a wire value is ordered by: numbers by value, text by its UTF-8 bytes."""
    match kind:
        case "N":
            return Decimal(value)
        case "S":
            return value.encode()
        case _:
            return value
