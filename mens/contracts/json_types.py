"""The shapes that strictly parsed documents have."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
JsonValue = JsonObject | list[Any] | str | int | float | bool | None
