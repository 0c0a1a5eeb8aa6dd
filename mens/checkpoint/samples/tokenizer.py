"""A small tokenizer that is a real one: byte-level BPE, a few merges, and the special tokens of a series."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from mens_contracts.release_v1 import Tokens

from mens.contracts.json_types import JsonObject

TURN_BEGINS: Final = "<|im_start|>"
TURN_ENDS: Final = "<|im_end|>"
END_OF_TEXT: Final = "<|endoftext|>"
MERGES: Final = tuple(
    tuple(pair.split(" "))
    for pair in (
        "Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "e r", "n d", "a t", "e n", "o r", "i t", "i s", "e s", "Ġ s",
        "Ġ w", "Ġ c", "Ġ o", "Ġt he", "Ġa nd", "in g", "Ġo f", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ",
    )
)  # fmt: skip
"""Pairs that are joined, in order; both halves of each stand before it. Ġ is a space and Ċ a new line."""
NUM_PLAIN: Final = 256 + len(MERGES)
MARK: Final = "<|"
"""How tokens begin that are no text, and that a reader drops from an answer."""


@dataclass(frozen=True)
class Vocabulary:
    """Special tokens by number, those that end an answer, and the one that pads."""

    special: Mapping[str, int]
    stop: tuple[str, ...]
    pad: str

    @property
    def size(self) -> int:
        """How many rows the embedding needs."""
        return max(NUM_PLAIN, *(number + 1 for number in self.special.values()))

    @property
    def stop_ids(self) -> list[int]:
        """The numbers that end an answer."""
        return [self.special[token] for token in self.stop]


def vocabulary(tokens: Tokens | None, more: Iterable[str] = (), *, own_numbers: bool = False) -> Vocabulary:
    """Return the special tokens of a series, numbered after the plain ones, or as the series numbers them."""
    recorded = {} if tokens is None else dict(sorted(tokens.special.items(), key=lambda item: item[1]))
    stop = tuple(tokens.stop) if tokens is not None and tokens.stop else (TURN_ENDS, END_OF_TEXT)
    pad = (tokens.pad if tokens is not None else None) or END_OF_TEXT
    names = dict.fromkeys([*recorded, END_OF_TEXT, TURN_BEGINS, TURN_ENDS, *stop, pad, *more])
    if own_numbers:
        free = count(max([NUM_PLAIN - 1, *recorded.values()]) + 1)
        return Vocabulary({name: recorded[name] if name in recorded else next(free) for name in names}, stop, pad)
    return Vocabulary({name: NUM_PLAIN + place for place, name in enumerate(names)}, stop, pad)


def byte_alphabet() -> list[str]:
    """A printable character for each byte, in the order of bytes: itself where it has one, else one from 256 on."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(0x100)
    return [chr(byte if byte in shown else next(others)) for byte in range(0x100)]


def tokenizer_files(words: Vocabulary, context: int, template: str | None) -> dict[str, bytes]:
    """Return the tokenizer's files, the generation settings and the chat template, by name."""
    files = {
        "tokenizer.json": _tokenizer(words),
        "tokenizer_config.json": _settings(words, context),
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": words.stop_ids,
            "pad_token_id": words.special[words.pad],
        },
    }
    data = {name: f"{json.dumps(value, ensure_ascii=False, indent=2)}\n".encode() for name, value in files.items()}
    return data if template is None else {**data, "chat_template.jinja": template.encode()}


def _tokenizer(words: Vocabulary) -> JsonObject:
    plain = [*byte_alphabet(), *("".join(pair) for pair in MERGES)]
    # Special tokens stand in the vocabulary too: a reader gives a number of its own to one that it does not find there.
    vocab = {token: number for number, token in enumerate(plain)} | dict(words.special)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, **_token(name)} for name, number in words.special.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [list(pair) for pair in MERGES],
        },
    }


def _settings(words: Vocabulary, context: int) -> JsonObject:
    named = {*words.stop[:1], words.pad}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): _token(name) for name, number in words.special.items()},
        "additional_special_tokens": [name for name in words.special if name.startswith(MARK) and name not in named],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": words.stop[0],
        "model_max_length": context,
        "pad_token": words.pad,
        "unk_token": None,
    }


def _token(name: str) -> JsonObject:
    flags: JsonObject = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": name, **flags, "special": name.startswith(MARK)}
