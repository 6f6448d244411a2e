# SPDX-License-Identifier: MIT
"""The code text of TorchScript as syntax trees of its few kinds of statements; nothing is run.

The printer of TorchScript writes one statement per line, two blanks for each level, and nearly
everything as calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..containers.budget import Budget
from ..errors import FormatError, quote
from .script_words import read_number, scan

_DEEPEST = 48
_MOST_STATEMENTS = 200_000
_BLOCKS = ("for", "while", "with", "del", "else")


class Name(NamedTuple):
    """A word, as a variable, `torch` or `CONSTANTS`."""

    word: str


class Literal(NamedTuple):
    """A number or string."""

    value: object


class Sequence(NamedTuple):
    """A list, or a tuple."""

    items: tuple[Expression, ...]
    is_tuple: bool


class Attribute(NamedTuple):
    """`of.name`."""

    of: Expression
    name: str


class Item(NamedTuple):
    """`of[at]`."""

    of: Expression
    at: Expression


class Call(NamedTuple):
    """`of(args, name=value)`."""

    of: Expression
    args: tuple[Expression, ...]
    named: tuple[tuple[str, Expression], ...]


Expression = Name | Literal | Sequence | Attribute | Item | Call


@dataclass(slots=True)
class Statement:
    """One line; `if` also has its blocks."""

    kind: str  # "assign", "return", "if", "call", or the first word of what is not understood
    value: Expression | None = None
    targets: tuple[str, ...] = ()
    unpacks: bool = False
    then: list[Statement] = field(default_factory=list)
    otherwise: list[Statement] = field(default_factory=list)


@dataclass(slots=True)
class Parameter:
    """A parameter of a function; its default is None as a tree if there is none."""

    name: str
    type: str
    default: Expression | None


@dataclass(slots=True)
class Function:
    """A function or method, whose lines are parsed when they are needed."""

    parameters: list[Parameter]
    lines: list[str]
    level: int

    def statements(self, budget: Budget) -> list[Statement]:
        """The body."""
        return _parse_block(self.lines, self.level, budget)


def read_functions(lines: list[str], budget: Budget) -> dict[str, Function]:
    """The functions of a code file by name, methods as "Class.method"."""
    functions: dict[str, Function] = {}
    current, prefix = Function([], [], 0), ""
    rest = iter(lines)
    for line in rest:
        level = _level(line)
        if line.startswith("class "):
            words = scan(line, budget)
            prefix = f"{words[1]}." if words[2:3] == ["("] else prefix
        elif line.startswith(("def ", "  def ")) and level <= (1 if prefix else 0):
            prefix = prefix if level else ""
            name, parameters = _signature(_whole_signature(line.strip(), rest), budget)
            current = Function(parameters, [], level + 1)
            functions[prefix + name] = current
        elif line.strip() and level >= current.level:
            current.lines.append(line)
    return functions


def _whole_signature(first: str, lines: Iterator[str]) -> str:
    """A signature, which may go over several lines."""
    parts = [first]
    while not parts[-1].endswith(":") and len(parts) < 1000:
        following = next(lines, None)
        if following is None:
            break
        parts.append(following.strip())
    return " ".join(parts)


def _signature(line: str, budget: Budget) -> tuple[str, list[Parameter]]:
    """Name and parameters of `def name(x: type=default, ...) -> type:`."""
    parser = _Parser(scan(line, budget), line)
    parser.take("def")
    name = parser.take()
    parser.take("(")
    found: list[Parameter] = []
    while parser.peek() != ")":
        found.append(parser.parameter())
        if parser.peek() != ")":
            parser.take(",")
    parser.take(")")
    if parser.words[-1] != ":" or parser.peek() not in ("->", ":"):
        raise parser.error()
    return name, found


def _level(line: str) -> int:
    return (len(line) - len(line.lstrip(" "))) // 2


def _parse_block(lines: list[str], level: int, budget: Budget) -> list[Statement]:
    """The statements of a body; blocks are kept on a stack, not parsed by recursion."""
    if len(lines) > _MOST_STATEMENTS:
        raise FormatError(f"a function of {len(lines)} lines, at most {_MOST_STATEMENTS} are read")
    root: list[Statement] = []
    blocks = [(level, root)]
    for line in lines:
        at = _level(line)
        while len(blocks) > 1 and at < blocks[-1][0]:
            blocks.pop()
        target = blocks[-1][1]
        content = line.strip()
        if content == "else:" and target and target[-1].kind == "if":
            blocks.append((at + 1, target[-1].otherwise))
            continue
        statement = _parse_statement(content, budget)
        target.append(statement)
        if content.endswith(":"):
            if len(blocks) > _DEEPEST:
                raise FormatError(f"the code has blocks nested more than {_DEEPEST} deep")
            blocks.append((at + 1, statement.then))
    return root


def _parse_statement(line: str, budget: Budget) -> Statement:
    words = scan(line, budget)
    first, last = words[0], words[-1]
    if words == ["pass"]:
        return Statement("pass")
    if first == "return":
        return Statement("return", _Parser(words[1:], line).whole())
    if first == "if" and last == ":":
        return Statement("if", _Parser(words[1:-1], line).whole())
    if first in _BLOCKS or last == ":":
        return Statement(first)
    if "=" in words:
        at = words.index("=")
        left = words[: words.index(":", 0, at)] if ":" in words[:at] else words[:at]
        if _are_joined(left[:-1] if left[-1:] == [","] else left, ","):
            names = tuple(word for word in left if word != ",")
            value = _Parser(words[at + 1 :], line).whole()
            return Statement("assign", value, names, unpacks="," in left)
        if _are_joined(left, "."):
            return Statement("self. =")
    return Statement("call", _Parser(words, line).whole())


def _are_joined(words: list[str], mark: str) -> bool:
    """Whether these are names with a mark between each two."""
    names, marks = words[::2], words[1::2]
    return len(words) % 2 == 1 and all(map(str.isidentifier, names)) and set(marks) <= {mark}


class _Parser:
    def __init__(self, words: list[str], line: str) -> None:
        self.words = words
        self.line = line  # for errors
        self.at = 0
        self.depth = 0

    def error(self) -> FormatError:
        return FormatError(f"the code has a line that is not understood: {quote(self.line)}")

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, wanted: str = "") -> str:
        word = self.peek()
        if not word or (wanted and word != wanted):
            raise self.error()
        self.at += 1
        return word

    def parameter(self) -> Parameter:
        """`name`, `name: type` or `name: type=default`."""
        name, default = self.take(), None
        kind: list[str] = []
        if self.peek() == ":":
            self.take()
            depth = 0
            while depth or self.peek() not in ("=", ",", ")"):
                word = self.take()
                depth += (word in "([{") - (word in ")]}")
                kind.append(", " if word == "," else word)
        if self.peek() == "=":
            self.take()
            default = self.expression()
        if not name.isidentifier():
            raise self.error()
        return Parameter(name, "".join(kind) or "Tensor", default)

    def whole(self) -> Expression:
        """All of the line: an expression, or several as a tuple."""
        first = self.expression()
        if self.peek() == ",":
            items = [first]
            while self.peek() == ",":
                self.take()
                if self.peek():
                    items.append(self.expression())
            first = Sequence(tuple(items), True)
        if self.peek():
            raise self.error()
        return first

    def expression(self) -> Expression:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FormatError(f"the code has brackets nested more than {_DEEPEST} deep")
        value = self.primary()
        chained = 0
        while self.peek() in (".", "(", "["):
            chained += 1
            if chained > _DEEPEST:
                raise self.error()
            value = self.postfix(value)
        self.depth -= 1
        return value

    def primary(self) -> Expression:
        word = self.take()
        if word == "-":
            word += self.take()
            if not word[1].isdigit():
                return Name("-")
        if word[0] in "-0123456789":
            number = read_number(word)
            if number is None:
                raise self.error()
            return Literal(number)
        if word[0] == '"':
            return Literal(word[1:-1])
        if word.isidentifier():
            return Name(word)
        if word in "([":
            items, commas = self.items(")" if word == "(" else "]")
            if word == "(" and len(items) == 1 and not commas:
                return items[0]
            return Sequence(tuple(items), word == "(")
        raise self.error()

    def postfix(self, value: Expression) -> Expression:
        word = self.take()
        if word == ".":
            return Attribute(value, self.take())
        if word == "[":
            items, _ = self.items("]")
            return Item(value, items[0] if len(items) == 1 else Sequence(tuple(items), True))
        args: list[Expression] = []
        named: list[tuple[str, Expression]] = []
        while self.peek() != ")":
            if self.at + 1 < len(self.words) and self.words[self.at + 1] == "=":
                name = self.take()
                self.take("=")
                named.append((name, self.expression()))
            else:
                args.append(self.expression())
            if self.peek() != ")":
                self.take(",")
        self.take(")")
        return Call(value, tuple(args), tuple(named))

    def items(self, close: str) -> tuple[list[Expression], int]:
        """Expressions up to a bracket, and how many commas stood between them."""
        found: list[Expression] = []
        commas = 0
        while self.peek() != close:
            found.append(self.expression())
            if self.peek() != close:
                self.take(",")
                commas += 1
        self.take(close)
        return found, commas
