"""What the tokenizer's files say, without running the tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeGuard

from mens.checkpoint.inspection.small_files import json_of
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.source import read

TOKENIZER: Final = "tokenizer.json"
SETTINGS: Final = "tokenizer_config.json"
SPECIAL: Final = "special_tokens_map.json"
VOCABULARY: Final = "vocab.json"
ADDED: Final = "added_tokens.json"
GENERATION: Final = "generation_config.json"
FILES: Final = (TOKENIZER, SETTINGS, SPECIAL, VOCABULARY, "merges.txt", ADDED, "tokenizer.model")
"""The files that make a tokenizer, in the order in which the report lists them."""
LARGEST_ID: Final = 100_000_000
MOST_STOPS: Final = 64


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer beside the weights."""

    ids: Mapping[str, int] = field(repr=False)
    """Numbers by token; empty where the files are not of a kind that is counted."""
    eos_token: str | None
    eos_token_ids: tuple[int, ...]
    pad_token: str | None
    pad_token_id: int | None
    files: tuple[JsonObject, ...]
    warnings: tuple[str, ...]

    @property
    def num_tokens(self) -> int | None:
        """How many different tokens there are; None where they were not counted."""
        return len(set(self.ids.values())) or None

    @property
    def highest(self) -> int:
        """The highest number of a token; -1 where tokens were not counted."""
        return max(self.ids.values(), default=-1)

    @property
    def pad_is_eos(self) -> bool:
        """Whether padding is the token that ends a turn."""
        if self.pad_token is not None and self.eos_token is not None:
            return self.pad_token == self.eos_token
        return self.pad_token_id is not None and self.pad_token_id in self.eos_token_ids[:1]


def tokenizer_facts(folder: Path, config: JsonObject) -> Tokenizer | None:
    """Read the tokenizer's files; None where there are none. Raises ContractError where one cannot be read strictly."""
    present = [name for name in FILES if os.path.lexists(folder / name)]
    if not present:
        return None
    settings, special = json_of(folder / SETTINGS), json_of(folder / SPECIAL)
    generation = json_of(folder / GENERATION)
    ids = _ids(folder, settings)
    eos, pad = _token("eos_token", settings, special), _token("pad_token", settings, special)
    stops = _stops(generation) or _stops(config) or _stops(_text(config)) or _known(ids, eos)
    pads = _numbers(generation.get("pad_token_id")) or _known(ids, pad) or _numbers(config.get("pad_token_id"))
    return Tokenizer(
        ids=ids,
        eos_token=eos,
        eos_token_ids=stops[:MOST_STOPS],
        pad_token=pad,
        pad_token_id=pads[0] if pads else None,
        files=tuple(_digest(folder, name) for name in present),
        warnings=tuple(_warnings(ids, {"eos": (eos, stops), "pad": (pad, pads)})),
    )


def _text(config: JsonObject) -> JsonObject:
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def _ids(folder: Path, settings: JsonObject) -> dict[str, int]:
    tokenizer = json_of(folder / TOKENIZER)
    model = tokenizer.get("model")
    found = _vocabulary(model.get("vocab") if isinstance(model, dict) else None)
    found = found or _vocabulary(json_of(folder / VOCABULARY)) | _vocabulary(json_of(folder / ADDED))
    if not found:
        return {}
    added = tokenizer.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        found |= _entry(entry, entry.get("id") if isinstance(entry, dict) else None)
    decoder = settings.get("added_tokens_decoder")
    for number, entry in decoder.items() if isinstance(decoder, dict) else ():
        found |= _entry(entry, int(number) if number.isascii() and number.isdigit() and len(number) < 10 else None)
    return found


def _vocabulary(vocab: JsonValue) -> dict[str, int]:
    """Numbers by token: a map of them, or a list of tokens with scores, whose places are the numbers."""
    if isinstance(vocab, dict):
        return {token: number for token, number in vocab.items() if _is_number(number)}
    if isinstance(vocab, list):
        pairs = enumerate(vocab)
        return {str(pair[0]): place for place, pair in pairs if isinstance(pair, list) and pair}
    return {}


def _entry(entry: JsonValue, number: JsonValue) -> dict[str, int]:
    content = entry.get("content") if isinstance(entry, dict) else None
    return {content: number} if isinstance(content, str) and _is_number(number) else {}


def _is_number(value: JsonValue) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _token(name: str, settings: JsonObject, special: JsonObject) -> str | None:
    """A special token's text: written plainly, or as an object with its content."""
    for source in (settings, special):
        value = source.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str) and 0 < len(text) <= 200:
            return text
    return None


def _stops(source: JsonObject) -> tuple[int, ...]:
    return _numbers(source.get("eos_token_id"))


def _numbers(value: JsonValue) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(number for number in listed if _is_number(number)))


def _known(ids: Mapping[str, int], token: str | None) -> tuple[int, ...]:
    return (ids[token],) if token is not None and token in ids else ()


def _digest(folder: Path, name: str) -> JsonObject:
    data = read(folder / name).data
    return {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _warnings(ids: Mapping[str, int], tokens: Mapping[str, tuple[str | None, tuple[int, ...]]]) -> Iterator[str]:
    """Special tokens whose text and number contradict each other."""
    for name, (token, numbers) in tokens.items():
        if token is None:
            yield f"the tokenizer declares no {name} token"
        elif ids and token not in ids:
            yield f"the {name} token {token} is not in the vocabulary"
        elif ids and numbers and ids[token] not in numbers:
            listed = ", ".join(map(str, numbers[:5]))
            yield f"the {name} token {token} is {ids[token]}, and the generation settings say {listed}"
