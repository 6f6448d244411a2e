# SPDX-License-Identifier: MIT
"""All results of a comparison, written to and read from JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..engines.engines import TITLES
from ..measuring import machine_limits as machine
from ..measuring.machine_limits import Level, Limits
from ..measuring.measure import CaseResult, Plan


@dataclass(frozen=True)
class Document:
    """The machine, the engines, and the measurements of every case."""

    engines: dict[str, str]  # name -> version, in the order of the tables
    threads: list[int]
    plan: Plan
    results: list[CaseResult]
    limits: dict[int, Limits] = field(default_factory=dict)  # by the number of threads
    machine: dict[str, Any] = field(default_factory=machine.describe)

    @property
    def levels(self) -> list[Level]:
        return [Level(**level) for level in self.machine["caches"]]

    @property
    def failed(self) -> bool:
        """Whether an engine failed or returned a wrong result."""
        rows = (row for result in self.results for row in result.measurements)
        return any(row.status in ("wrong", "failed") for row in rows)

    @property
    def training(self) -> bool:
        return any(result.training for result in self.results)

    def about(self) -> str:
        """The machine and the versions, in two sentences; in one without engines."""
        facts = self.machine
        versions = ", ".join(f"{TITLES[name]} {version}" for name, version in self.engines.items())
        about = f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['system']}."
        return f"{about} {versions}." if versions else about

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "limits": [limits.to_json() for limits in self.limits.values()],
            "engines": self.engines,
            "threads": self.threads,
            "plan": asdict(self.plan),
            "results": [result.to_json() for result in self.results],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Document:
        limits = [Limits.from_json(limits) for limits in data["limits"]]
        return cls(
            dict(data["engines"]),
            list(data["threads"]),
            Plan(**data["plan"]),
            [CaseResult.from_json(result) for result in data["results"]],
            {one.threads: one for one in limits},
            dict(data["machine"]),
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Document:
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
