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
    parser = _Parser(_tokens(expression), context)
    result = parser.disjunction()
    parser.end()
    return result


def updated(expression: str, context: Context) -> dict[str, Any]:
    """Return the item as an update expression leaves it; each operand is that of the item before."""
    item = dict(context.item)
    parser = _Parser(_tokens(expression), context)
    while parser.more:
        match parser.take().upper():
            case "SET":
                item.update(parser.listed(parser.assignment))
            case "REMOVE":
                for name in parser.listed(parser.attribute):
                    item.pop(name, None)
            case "ADD":
                item.update(parser.listed(parser.addition))
            case clause:
                raise ExpressionError(f"update clause {clause} is not understood")
    return item


@lru_cache(maxsize=512)
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
    """Recursive descent that evaluates as it goes; every branch is evaluated, so that all placeholders are seen."""

    def __init__(self, tokens: tuple[str, ...], context: Context) -> None:
        self._tokens = tokens
        self._at = 0
        self._context = context

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

    def disjunction(self) -> bool:
        result = self._conjunction()
        while self.peek().upper() == "OR":
            self.take()
            other = self._conjunction()
            result = result or other
        return result

    def listed(self, one: Callable[[], T]) -> list[T]:
        found = [one()]
        while self.peek() == ",":
            self.take()
            found.append(one())
        return found

    def attribute(self) -> str:
        return self._context.name(self.take())

    def assignment(self) -> tuple[str, Any]:
        name = self.attribute()
        self.take("=")
        value = self._value()
        while self.peek() in {"+", "-"}:
            sign = 1 if self.take() == "+" else -1
            if value is None:
                raise ExpressionError("an absent attribute is no number")
            value = {"N": str(Decimal(value["N"]) + sign * Decimal(self._value()["N"]))}
        return name, value

    def addition(self) -> tuple[str, Any]:
        name = self.attribute()
        base = self._context.item.get(name, {"N": "0"})
        return name, {"N": str(Decimal(base["N"]) + Decimal(self._context.operand(self.take())["N"]))}

    def _value(self) -> Any:
        if self.peek() != "if_not_exists":
            return self._context.operand(self.take())
        self.take()
        self.take("(")
        present = self._context.operand(self.take())
        self.take(",")
        fallback = self._value()
        self.take(")")
        return fallback if present is None else present

    def _conjunction(self) -> bool:
        result = self._negation()
        while self.peek().upper() == "AND":
            self.take()
            other = self._negation()
            result = result and other
        return result

    def _negation(self) -> bool:
        if self.peek().upper() == "NOT":
            self.take()
            return not self._negation()
        return self._primary()

    def _primary(self) -> bool:
        if self.peek() == "(":
            self.take()
            result = self.disjunction()
            self.take(")")
            return result
        match self.peek():
            case "attribute_exists":
                return self._argument() is not None
            case "attribute_not_exists":
                return self._argument() is None
            case "begins_with":
                return self._begins_with()
        left = self._context.operand(self.take())
        if self.peek().upper() == "BETWEEN":
            return self._between(left)
        compare = COMPARISONS[self.take(*COMPARISONS)]
        return _compared(left, self._context.operand(self.take()), compare)

    def _argument(self) -> Any:
        self.take()
        self.take("(")
        operand = self._context.operand(self.take())
        self.take(")")
        return operand

    def _begins_with(self) -> bool:
        self.take()
        self.take("(")
        whole = self._context.operand(self.take())
        self.take(",")
        start = self._context.operand(self.take())
        self.take(")")
        return whole is not None and str(whole.get("S", "")).startswith(start["S"])

    def _between(self, value: Any) -> bool:
        self.take()
        low = self._context.operand(self.take())
        self.take("AND")
        high = self._context.operand(self.take())
        at_least = _compared(value, low, COMPARISONS[">="])
        return at_least and _compared(value, high, COMPARISONS["<="])


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
