"""The one door for documents: strict parsing, schema, named rules, and the generated model that comes out.

`load(path, TrainingPresetV1)` returns a document or raises InvalidDocument with every finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mens.contracts.door import Document, InvalidDocument, examine, load, loads

__all__ = ["Document", "InvalidDocument", "examine", "load", "loads"]


def __getattr__(name: str) -> Any:
    # Lazy, because the generator imports the rules beside the door before the door's own models exist.
    if name in __all__:
        from mens.contracts import door

        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
