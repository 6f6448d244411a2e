# SPDX-License-Identifier: MIT
"""The code text of TorchScript as syntax trees of its few kinds of statements; nothing is run.

The printer of TorchScript writes one statement per line, two blanks for each level, and nearly
everything as calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import FormatError, quote

_TOKEN = re.compile(
    r'\s*(?:(\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?)|([A-Za-z_]\w*)|("(?:[^"\\]|\\.)*")|([()\[\],.=:{}-]))'
)
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\](){},]')
_DEEPEST = 48
_LONGEST_LINE = 1 << 20
_LONGEST_NUMBER = 40
_MOST_STATEMENTS = 200_000
_ASSIGN = re.compile(r"((?:\w+)(?:, \w+)*,?)(?: : [^=]+)? = (.+)")
_STORE = re.compile(r"\w+(?:\.\w+)+ = ")
_DEF = re.compile(r"def (\w+)\((.*)\)(?: -> .*)?:")
_CLASS = re.compile(r"class (\w+)\(")
_PARAMETER = re.compile(r"\s*(\w+)(?:\s*:\s*([^=]+?))?(?:\s*=\s*(.+))?\s*")


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

    def statements(self) -> list[Statement]:
        """The body."""
        return _parse_block(self.lines, self.level)


def read_functions(text: str) -> dict[str, Function]:
    """The functions of a code file by name, methods as "Class.method"."""
    functions: dict[str, Function] = {}
    current, prefix = Function([], [], 0), ""
    lines = iter(text.split("\n"))
    for line in lines:
        level = _level(line)
        if match := _CLASS.match(line):
            prefix = f"{match[1]}."
        elif line.startswith(("def ", "  def ")) and level <= (1 if prefix else 0):
            prefix = prefix if level else ""
            match = _DEF.fullmatch(_signature(line.strip(), lines))
            if match is None:
                raise FormatError(f"the code has a function that is not understood: {quote(line)}")
            current = Function(_parameters(match[2]), [], level + 1)
            functions[prefix + match[1]] = current
        elif line.strip() and level >= current.level:
            current.lines.append(line)
    return functions


def _signature(first: str, lines: Iterator[str]) -> str:
    """A signature, which may go over several lines."""
    parts = [first]
    while not parts[-1].endswith(":") and len(parts) < 1000:
        following = next(lines, None)
        if following is None:
            break
        parts.append(following.strip())
    return " ".join(parts)


def _parameters(text: str) -> list[Parameter]:
    found = []
    for part in _split(text):
        match = _PARAMETER.fullmatch(part)
        if match is None:
            raise FormatError(f"the code has a parameter that is not understood: {quote(part)}")
        default = _parse_line(match[3]) if match[3] else None
        found.append(Parameter(match[1], (match[2] or "Tensor").strip(), default))
    return found


def _split(text: str) -> list[str]:
    """The parts between commas outside of brackets and strings."""
    parts, depth, begin = [], 0, 0
    for match in _MARK.finditer(text):
        mark = match[0]
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and not depth:
            parts.append(text[begin : match.start()])
            begin = match.end()
    return [part for part in [*parts, text[begin:]] if part.strip()]


def _level(line: str) -> int:
    return (len(line) - len(line.lstrip(" "))) // 2


def _parse_block(lines: list[str], level: int) -> list[Statement]:
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
        statement = _parse_statement(content)
        target.append(statement)
        if content.endswith(":"):
            if len(blocks) > _DEEPEST:
                raise FormatError(f"the code has blocks nested more than {_DEEPEST} deep")
            blocks.append((at + 1, statement.then))
    return root


def _parse_statement(line: str) -> Statement:
    word = line.partition(" ")[0]
    if line == "pass":
        return Statement("pass")
    if word == "return":
        return Statement("return", _parse_line(line[7:]))
    if word == "if" and line.endswith(":"):
        return Statement("if", _parse_line(line[3:-1]))
    if word in ("for", "while", "with", "del", "else:") or line.endswith(":"):
        return Statement(word)
    if match := _ASSIGN.fullmatch(line):
        names = tuple(name.strip() for name in match[1].split(",") if name.strip())
        return Statement("assign", _parse_line(match[2]), names, "," in match[1])
    if _STORE.match(line):
        return Statement("self. =")
    return Statement("call", _parse_line(line))


def _parse_line(text: str) -> Expression:
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_LINE:
            raise FormatError(f"the code has a line of {len(text)} characters")
        self.text = text
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def _tokens(self) -> Iterator[str]:
        at = 0
        end = len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise self.error()
            yield match[match.lastindex or 0]
            at = match.end()

    def error(self) -> FormatError:
        return FormatError(f"the code has a line that is not understood: {quote(self.text)}")

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise self.error()
        self.at += 1
        return token

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
        while self.peek() in (".", "(", "["):
            value = self.postfix(value)
        self.depth -= 1
        return value

    def primary(self) -> Expression:
        token = self.take()
        if token == "-":
            number = self.take()
            return Literal(_negative(_number(number))) if number[0].isdigit() else Name("-")
        if token[0].isdigit():
            return Literal(_number(token))
        if token[0] == '"':
            return Literal(token[1:-1])
        if token[0].isalpha() or token[0] == "_":
            return Name(token)
        if token in "([":
            items, commas = self.items(")" if token == "(" else "]")
            if token == "(" and len(items) == 1 and not commas:
                return items[0]
            return Sequence(tuple(items), token == "(")
        raise self.error()

    def postfix(self, value: Expression) -> Expression:
        token = self.take()
        if token == ".":
            return Attribute(value, self.take())
        if token == "[":
            items, _ = self.items("]")
            return Item(value, items[0] if len(items) == 1 else Sequence(tuple(items), True))
        args: list[Expression] = []
        named: list[tuple[str, Expression]] = []
        while self.peek() != ")":
            if self.at + 1 < len(self.tokens) and self.tokens[self.at + 1] == "=":
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


def _number(text: str) -> int | float:
    if len(text) > _LONGEST_NUMBER:
        raise FormatError(f"the code has a number of {len(text)} digits")
    return int(text) if text.isdigit() else float(text)


def _negative(value: int | float) -> int | float:
    return -value
