"""The config.json of a sample: a family's tiny configuration or a model's own, fitted to a layout and a tokenizer."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mens_contracts.family_v1 import FamilyV1, Layout, MemoryClass

from mens.checkpoint.keys.geometry import Geometry, sections
from mens.checkpoint.samples.series import Series
from mens.checkpoint.samples.tokenizer import Vocabulary, vocabulary
from mens.contracts.errors import UnsupportedError, UsageError
from mens.contracts.json_types import JsonObject, JsonValue
from mens.contracts.positions import SyntaxFault
from mens.contracts.problems import nearest, shown

Settings = Mapping[str, JsonValue]
UNFIT: Final = "MENS-C045"
FIELD: Final = re.compile(r"(?:text|vision|config)(?:\.[a-z_][a-z0-9_]*)+")
ROWS_PER_STEP: Final = 64
"""Tiny embeddings have rows to spare after the last token, as large ones do."""
TOKEN_FIELD: Final = re.compile(r"(?P<what>[a-z0-9_]+)_token_id")
OWN_TOKENS: Final = frozenset({"bos", "eos", "pad"})
TIED: Final = "tie_word_embeddings"
EXPERT_STEP: Final = 8
"""Upstream multiplies all experts at once on a CPU too, in rows that must be multiples of 16 bytes."""
DTYPE_NAMES: Final = {"BF16": "bfloat16", "F32": "float32"}


@dataclass(frozen=True)
class Fitted:
    """A configuration, the tokens that it was fitted to, and which of them stand for pictures."""

    config: JsonObject
    words: Vocabulary
    pictures: Mapping[str, str]


def parse_settings(settings: Iterable[str]) -> dict[str, JsonValue]:
    """Read `name=value` pairs; values are YAML 1.2."""
    from mens.contracts.strict_yaml import parse_yaml

    found: dict[str, JsonValue] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        name = name.strip()
        if not sign or not name:
            raise UsageError("MENS-L003", f"--set {shown(setting)} is not of the form name=value.")
        try:
            value, _ = parse_yaml(text)
        except SyntaxFault as fault:
            raise UsageError("MENS-L003", f"--set {name}: {shown(text)} cannot be read: {fault}") from None
        if name in found and found[name] != value:
            raise UsageError("MENS-L003", f"--set gives {name} twice, as {shown(found[name])} and as {shown(value)}.")
        found[name] = value
    return found


def starting_config(family: FamilyV1, series: Series, full_size: bool, settings: Settings) -> JsonObject:
    """Return the family's tiny configuration, or the model's own at full size, with settings laid over it."""
    config = copy.deepcopy(family.tiny_config)
    if full_size:
        config = series.config() or config
    for name, value in settings.items():
        for path in _paths(family, config, name):
            _put(config, path, copy.deepcopy(value))
    if not full_size and not _is_set(family, config, settings, "expert_ffn"):
        _widen_experts(family, config)
    _follow(family, config, settings)
    return config


def choose_layout(family: FamilyV1, config: JsonObject, name: str | None) -> Layout:
    """Return the layout of this name; without a name, the first that the configuration has all parts for."""
    has_vision = isinstance(config.get("vision_config"), dict)
    for layout in family.layouts:
        if layout.name == name or (name is None and (has_vision or not _shows_pictures(layout))):
            return layout
    names = [layout.name for layout in family.layouts]
    what = f"{shown(name)} is no layout of family '{family.id}'.{nearest(name, names)}"
    raise UnsupportedError("MENS-U004", what, "", f"Layouts: {', '.join(names)}.")


def fit(
    family: FamilyV1,
    start: JsonObject,
    layout: Layout,
    series: Series,
    *,
    dtype: str,
    tied: bool | None,
    settings: Settings,
    full_size: bool,
) -> Fitted:
    """Return the configuration as it stands beside this layout's tensors, and the tokenizer's special tokens."""
    config = copy.deepcopy(start)
    named = _named_tokens(config, series)
    tokens = None if series.release is None else series.release.tokens
    words = vocabulary(tokens, named.values(), own_numbers=full_size)
    is_tied = bool(Geometry(family, config).evaluate("tied", TIED)) if tied is None else tied
    _number_tokens(config, named, words, {path.rpartition(".")[2] for path in _paths_of(family, config, settings)})
    _make_room(family, config, words, fixed=full_size or _is_set(family, config, settings, "vocab"))
    config = _dressed(family, config, layout)
    for section in _both(config):
        section |= {TIED: is_tied, "dtype": DTYPE_NAMES[dtype]}
    _check_kept(family, start, config, settings)
    return Fitted(config, words, {name.removesuffix("_token_id"): token for name, token in named.items()})


def _check_kept(family: FamilyV1, start: JsonObject, final: JsonObject, settings: Settings) -> None:
    """Refuse a setting that the layout has no place for, or that another option decides."""
    for name, value in settings.items():
        found = [_get(final, path) for path in _paths(family, start, name)]
        if value not in found:
            instead = "has no place in this layout" if found[0] is None else f"would become {shown(found[0])}"
            raise UsageError(UNFIT, f"--set {name}: {shown(value)} {instead}, by the layout or another option.")


def _both(config: JsonObject) -> list[JsonObject]:
    """The whole and its text part, which may be one: classes differ in where they look."""
    text = sections(config)["text"]
    return [config] if text is config else [config, text]


def _shows_pictures(layout: Layout) -> bool:
    return layout.selection.get("vision") == "present"


def _paths(family: FamilyV1, config: JsonObject, name: str) -> list[str]:
    """The fields that a setting means: a geometry name's own, or the one that it spells out."""
    if FIELD.fullmatch(name):
        if name.startswith("vision.") and not sections(config)["vision"]:
            raise UsageError(UNFIT, f"--set {name}: this configuration has no vision part.")
        return [name]
    formula = family.geometry.get(name)
    if formula is not None:
        return _fields_of(formula, config) or _computed(name, formula)
    if name in config and not isinstance(config[name], dict):
        return [f"config.{name}"]
    if name in sections(config)["text"]:
        return [f"text.{name}"]
    known = [one for one, formula in family.geometry.items() if _fields_of(formula, config)]
    fix = f"Geometry: {', '.join(known)}. Any other field is written text.NAME, vision.NAME or config.NAME."
    raise UsageError("MENS-L002", f"{shown(name)} is not a field of a sample.{nearest(name, known)}", "", fix)


def _fields_of(formula: str | int, config: JsonObject) -> list[str]:
    """The fields of a formula that is one field, or one of several; of several those that are there, or the first."""
    options = [option.strip() for option in str(formula).split(" or ")]
    fields = [option for option in options if FIELD.fullmatch(option)]
    if not fields or options[0] not in fields:
        return []
    return [field for field in fields if _get(config, field) is not None] or fields[:1]


def _computed(name: str, formula: str | int) -> list[str]:
    raise UsageError(UNFIT, f"--set {name}: it follows from others ({formula}); set those.")


def _paths_of(family: FamilyV1, config: JsonObject, settings: Settings) -> set[str]:
    return {path for name in settings for path in _paths(family, config, name)}


def _is_set(family: FamilyV1, config: JsonObject, settings: Settings, name: str) -> bool:
    formula = family.geometry.get(name, "")
    return bool(_paths_of(family, config, settings) & set(_fields_of(formula, config)))


def _get(config: JsonObject, path: str) -> JsonValue:
    section, *steps = path.split(".")
    value: JsonValue = sections(config)[section]
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _put(config: JsonObject, path: str, value: JsonValue) -> None:
    section, *steps, last = path.split(".")
    place = sections(config)[section]
    for step in steps:
        below = place.setdefault(step, {})
        if not isinstance(below, dict):
            raise UsageError(UNFIT, f"--set {path}: '{step}' is no part of a configuration.")
        place = below
    place[last] = value


def _follow(family: FamilyV1, config: JsonObject, settings: Settings) -> None:
    """Let what rests on a setting follow it, unless it was set itself: lists of layers, and the tower's way out."""
    set_paths = _paths_of(family, config, settings)
    layers = Geometry(family, config).known().get("layers")
    for axis in family.layer_kinds:
        listed = None if axis.listed_in is None else _get(config, axis.listed_in)
        if isinstance(listed, list) and len(listed) != layers and axis.listed_in not in set_paths:
            section, _, name = str(axis.listed_in).partition(".")
            sections(config)[section].pop(name, None)
    hidden = Geometry(family, config).known().get("hidden")
    if "out_hidden_size" in sections(config)["vision"] and "vision.out_hidden_size" not in set_paths:
        _put(config, "vision.out_hidden_size", hidden)


def _widen_experts(family: FamilyV1, config: JsonObject) -> None:
    width = Geometry(family, config).known().get("expert_ffn")
    if isinstance(width, int):
        for path in _fields_of(family.geometry["expert_ffn"], config):
            _put(config, path, -(-width // EXPERT_STEP) * EXPERT_STEP)


def _named_tokens(config: JsonObject, series: Series) -> dict[str, str]:
    """The token that each `..._token_id` field means, by what the release says of that number."""
    recorded = {} if series.release is None or series.release.tokens is None else series.release.tokens.special
    names = {number: name for name, number in recorded.items()}
    common: JsonObject = {} if series.release is None else series.release.common_config
    return {key: names.get(common.get(key, -1), f"<|{what}|>") for key, what in _token_fields(config)}


def _token_fields(config: JsonObject) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        match = TOKEN_FIELD.fullmatch(key)
        if match and isinstance(value, int) and match["what"] not in OWN_TOKENS:
            yield key, match["what"]


def _number_tokens(config: JsonObject, named: Mapping[str, str], words: Vocabulary, kept: set[str]) -> None:
    config |= {key: words.special[token] for key, token in named.items() if key not in kept}
    # Said outright: where these are silent, classes have defaults of their own, which no tiny embedding has rows for.
    own = {"bos_token_id": None, "eos_token_id": words.stop_ids[0], "pad_token_id": words.special[words.pad]}
    text = sections(config)["text"]
    text |= {key: value for key, value in own.items() if key not in kept}


def _make_room(family: FamilyV1, config: JsonObject, words: Vocabulary, *, fixed: bool) -> None:
    """See to it that the embedding has a row for every token."""
    if not fixed:
        rows = -(-words.size // ROWS_PER_STEP) * ROWS_PER_STEP
        for path in _fields_of(family.geometry["vocab"], config):
            _put(config, path, rows)
    rows_there = Geometry(family, config).integer("vocab")
    if rows_there < words.size:
        raise UsageError(
            UNFIT, f"An embedding of {rows_there} rows is too small: the tokenizer has {words.size} tokens."
        )


def _dressed(family: FamilyV1, config: JsonObject, layout: Layout) -> JsonObject:
    """Return the part of the configuration that the layout's class reads, under that class's name."""
    text = config.get("text_config")
    is_whole = _shows_pictures(layout) or not isinstance(text, dict)
    written = config if is_whole or not isinstance(text, dict) else {**text}
    memory = _class_for(family, layout, written)
    own = {"architectures": [memory.architecture], "model_type": memory.model_type}
    return {**own, **{key: value for key, value in written.items() if key not in own}}


def _class_for(family: FamilyV1, layout: Layout, config: JsonObject) -> MemoryClass:
    """The class that the layout is loaded into; one of the configuration's own model type where there is one."""
    loadable = [memory for memory in family.memory if memory.name in layout.loads_into] or list(family.memory)
    named = [memory for memory in loadable if memory.model_type == config.get("model_type")]
    return (named or loadable)[0]
