"""A draft of a family file from a checkpoint that no family reads: what the nearest one has in common with it, kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mens_contracts.families import NAMES
from mens_contracts.family_v1 import FamilyV1, LayerAxis, Rope, Tensor, VariantOption

from mens.checkpoint.drafts.shapes import (
    REQUIRED,
    Dimensions,
    closure,
    evaluated,
    formulas_for,
    is_said,
    layers_condition,
)
from mens.checkpoint.drafts.templates import Indices, Template, Writer, groups_of, layer_stem
from mens.checkpoint.keys.geometry import Geometry
from mens.checkpoint.keys.keymap import (
    LAYER,
    Selection,
    TensorSpec,
    bound_prefixes,
    expand,
    layer_kinds,
    pattern,
    stands,
)
from mens.checkpoint.keys.layout import generic, probe_pattern
from mens.checkpoint.storage.headers import TensorHeader
from mens.contracts.errors import ContractError, UnsupportedError
from mens.contracts.expressions import ExpressionError, parse
from mens.contracts.json_types import JsonObject, JsonValue

CHECKPOINT: Final = "checkpoint"
AS_FOUND: Final = "as_found"
LISTED: Final = "text.layer_types"
ALWAYS: Final = (*REQUIRED, "heads", "kv_heads", "head_dim")
TIED: Final = frozenset({"tied"})
Tensors = Mapping[str, TensorHeader]


@dataclass
class Kept:
    """An entry of the nearest family that stands in the draft."""

    entry: JsonObject
    num_tensors: int
    routed: bool = False


@dataclass
class Matching:
    """What the nearest family's templates and the checkpoint have in common, and what not."""

    kept: list[Kept] = field(default_factory=list)
    new: list[Template] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)


class FamilyDrafter:
    """Everything that a draft of a family is made of, worked out in order."""

    def __init__(self, base: FamilyV1, selection: Selection, config: JsonObject, tensors: Tensors) -> None:
        self.config = config
        self.tensors = tensors
        self.selection = selection
        self.prefixes = bound_prefixes(base, selection)
        self.formulas = formulas_for(base, config)
        stem, counted = layer_stem(tensors, self.prefixes)
        if type(evaluated(self.formulas, config).get("layers")) is not int:
            self.formulas["layers"] = counted
        self.base = base.model_copy(update={"geometry": self.formulas})
        self.numbers = Geometry(self.base, config)
        self.axes = list(self._axes())
        self.base = self.base.model_copy(update={"layer_kinds": self.axes})
        self.indices = Indices(dict(self._indices()), stem)
        self.writer = Writer(
            self.prefixes,
            self.indices,
            Dimensions(self.formulas, config),
            layer_kinds(self.base, self.numbers),
            base.dtypes,
        )
        self.matching = self._matched()

    def _axes(self) -> Iterator[LayerAxis]:
        """The family's layer kinds, where this configuration has them, and one for a list that it does not know."""
        usable = [axis for axis in self.base.layer_kinds if self._is_usable(axis)]
        listed = self.numbers.get(LISTED)
        if isinstance(listed, list) and listed and not any(axis.listed_in == LISTED for axis in usable):
            own = self._listed_axis(listed)
            names = {kind.name for kind in own.kinds} if own else set()
            usable = [axis for axis in usable if not names & {kind.name for kind in axis.kinds}]
            yield from [own] if own else []
        yield from usable

    def _is_usable(self, axis: LayerAxis) -> bool:
        try:
            layer_kinds(self.base.model_copy(update={"layer_kinds": [axis]}), self.numbers)
        except ContractError:
            return False
        return True

    def _listed_axis(self, listed: list[JsonValue]) -> LayerAxis | None:
        names = sorted({str(name) for name in listed})
        kinds = []
        for place, name in enumerate(names):
            layers = frozenset(layer for layer, kind in enumerate(listed) if kind == name)
            condition = "True" if place == len(names) - 1 else layers_condition(layers, len(listed))
            kinds.append({"name": name, "holds_if": condition or "False"})
        try:
            axis = LayerAxis.model_validate({"axis": "mixer", "listed_in": LISTED, "kinds": kinds})
        except ValueError:
            return None
        return axis if self._is_usable(axis) else None

    def _indices(self) -> Iterator[tuple[str, tuple[str | int, int]]]:
        for letter, expression in self.base.indices.items():
            try:
                count = parse(expression).evaluate(self.numbers)
            except ExpressionError:
                continue
            if type(count) is int and count > 0:
                yield letter, (expression, count)
        yield LAYER, ("layers", self.numbers.integer("layers"))

    def _matched(self) -> Matching:
        found = Matching()
        held = {generic(name) for name in self.tensors}
        slots: list[tuple[Tensor, Kept | None]] = []
        for tensor in self.base.tensors:
            slots.append((tensor, self._exact(tensor, found) if stands(tensor, self.selection) else None))
        for tensor, kept in slots:
            name = self._name(tensor)
            again = stands(tensor, self.selection) and name in held
            kept = kept or (self._elsewhere(tensor, found) if again else None)
            if kept is not None:
                found.kept.append(kept)
            elif stands(tensor, self.selection) and tensor.presence == "required" and name not in held:
                found.absent.extend([name] if self._specs(tensor) != [] else [])
        left = [tensor for name, tensor in self.tensors.items() if name not in found.claimed]
        theirs = {self._name(tensor) for tensor in self.base.tensors if stands(tensor, self.selection)}
        for group in groups_of(left):
            known = f"Family '{self.base.id}' has this name with other numbers or in other layers."
            remark = known if group.generic in theirs else f"Not in family '{self.base.id}'."
            found.new.extend(t._replace(remarks=(remark, *t.remarks)) for t in self.writer.templates(group))
        self._without_strangers(found)
        _name_apart(found)
        return found

    def _without_strangers(self, found: Matching) -> None:
        """Drop what repeats a tensor that is not here: the halves of the pair, and the word that it is a repetition."""
        repeated = {tensor.same_as for tensor in self.base.tensors if tensor.same_as is not None}
        roles = {kept.entry["role"] for kept in found.kept if kept.num_tensors}
        if not repeated <= roles:
            found.kept = [kept for kept in found.kept if kept.num_tensors]
        for kept in found.kept:
            if kept.entry.get("same_as") not in roles:
                kept.entry.pop("same_as", None)

    def _name(self, tensor: Tensor) -> str:
        text, indices = pattern(tensor.key, self.prefixes)
        return generic(text % ((0,) * len(indices)))

    def _specs(self, tensor: Tensor) -> list[TensorSpec] | None:
        """The tensors that an entry stands for here; None where this configuration does not say."""
        try:
            return list(expand(self.base.model_copy(update={"tensors": [tensor]}), self.config, self.selection))
        except ContractError:
            return None

    def _fits(self, spec: TensorSpec) -> bool:
        found = self.tensors.get(spec.key)
        return found is not None and tuple(found.shape) == spec.shape

    def _exact(self, tensor: Tensor, found: Matching) -> Kept | None:
        """The entry as it is, where every tensor that it stands for is here with its shape."""
        specs = self._specs(tensor)
        if specs and all(map(self._fits, specs)):
            return self._claim(tensor, specs, found)
        if tensor.exists_if is not None and parse(tensor.exists_if).names == TIED and specs is not None:
            # Sizes of one series differ in tying: the other half of the pair is not to be seen here, and belongs to it.
            return None if any(spec.key in self.tensors for spec in specs) else Kept(_entry(tensor), 0, tensor.routed)
        return None

    def _elsewhere(self, tensor: Tensor, found: Matching) -> Kept | None:
        """The entry in other layers than the family has it in, where its tensors are otherwise as they should be."""
        if f"{{{LAYER}}}" not in tensor.key:
            return None
        everywhere = tensor.model_copy(update={"in_layers": None, "exists_if": None})
        specs = [spec for spec in self._specs(everywhere) or [] if spec.key not in found.claimed]
        here = [spec for spec in specs if spec.key in self.tensors]
        layers = frozenset(spec.layer for spec in here if spec.layer is not None)
        whole = sum(spec.layer in layers for spec in specs) == len(here)
        placed = self.writer.placement(layers) if layers else None
        if not here or not whole or placed is None or not all(map(self._fits, here)):
            return None
        kept = self._claim(everywhere, here, found)
        kept.entry |= placed
        return kept

    def _claim(self, tensor: Tensor, specs: list[TensorSpec], found: Matching) -> Kept:
        found.claimed.update(spec.key for spec in specs)
        entry = _entry(tensor)
        types = {self.tensors[spec.key].dtype for spec in specs}
        if not types <= set(specs[0].dtypes):
            entry["dtypes"] = sorted(types | set(specs[0].dtypes))
        return Kept(entry, len(specs), tensor.routed)

    @property
    def entries(self) -> list[JsonObject]:
        """All tensors of the draft: those of the nearest family first, then those that it does not have."""
        return [*(kept.entry for kept in self.matching.kept), *(template.entry for template in self.matching.new)]

    def document(self, id_: str, title: str, evidence: JsonObject, fact: str, tiny: JsonObject) -> JsonObject:
        """The draft as a document of its kind."""
        variants, selection = self._variants()
        name, claims = _class_name(self.config, id_), recognised(self.config, id_)
        entries = [_without_axes(entry, selection) for entry in self.entries]
        lora = self._lora(entries)
        body: JsonObject = {
            "layer_kinds": self._kinds(entries),
            "indices": {letter: self.indices.counts[letter][0] for letter in self._letters(entries)},
            "rope": self._rope(),
            "variants": variants,
            "layouts": [{"name": AS_FOUND, "title": title, "selection": selection, "evidence": [CHECKPOINT]}],
            "memory": [
                {
                    "name": "whole",
                    "auto_class": "AutoModelForCausalLM",
                    "architecture": name,
                    "model_type": claims["model_types"][0],
                    "config_section": "root",
                    "selection": selection,
                }
            ],
            "dtypes": list(self.base.dtypes),
            "lora": lora,
            "tensors": entries,
            "tiny_config": tiny,
        }
        document = {
            "schema": "mens/family/v1",
            "id": id_,
            "title": "FILL IN: the series that it covers",
            "tier": "frozen",
            "recognise": claims,
            "evidence": {CHECKPOINT: evidence},
            "facts": [{"about": "draft", "statement": fact, "evidence": [CHECKPOINT]}],
            "geometry": self._geometry(body),
            **body,
        }
        return {key: value for key, value in document.items() if value is not None}

    def _letters(self, entries: list[JsonObject]) -> list[str]:
        text = "".join(entry["key"] for entry in entries)
        return [letter for letter in self.indices.counts if letter == LAYER or f"{{{letter}}}" in text]

    def _kinds(self, entries: list[JsonObject]) -> list[JsonObject] | None:
        used = {entry.get("in_layers") for entry in entries}
        axes = [
            axis
            for axis in self.axes
            if used & {kind.name for kind in axis.kinds} or (axis.listed_in and self.numbers.get(axis.listed_in))
        ]
        return [_dumped(axis) for axis in axes] or None

    def _rope(self) -> JsonObject | None:
        rope = self.base.rope
        return _dumped(rope) if rope is not None and is_said(self.formulas, self.config, rope.theta) else None

    def _geometry(self, body: JsonObject) -> JsonObject:
        routed = any(kept.routed for kept in self.matching.kept)
        known = self.numbers.known()
        said = {name for name in ALWAYS if name in known and is_said(self.formulas, self.config, self.formulas[name])}
        needed = closure(self.formulas, _expressions(body)) | set(REQUIRED) | said
        needed |= {"experts", "top_k"} if routed else set()
        needed |= closure(self.formulas, [self.formulas[name] for name in needed if name in self.formulas])
        return {name: formula for name, formula in self.formulas.items() if name in needed}

    def _variants(self) -> tuple[list[JsonObject], dict[str, str]]:
        """The options that are seen, one on each axis; an axis that nothing shows and nothing needs is left out."""
        names = {generic(name) for name in self.tensors}
        axes: list[JsonObject] = []
        bound: dict[str, str] = {}
        for axis in self.base.variants:
            option = next(option for option in axis.options if option.name == self.selection[axis.axis])
            bound |= option.bind
            users = [entry["key"] for entry in self.entries if _uses(entry, axis.axis, option)]
            entry = {"name": option.name, "probe": option.probe, "bind": dict(option.bind)}
            if option.probe is not None and probe_pattern(option, bound) not in names:
                if not users:
                    continue
                entry["probe"] = users[0]
                if axis.axis == "mtp" and not any("expert" in key for key in users):
                    entry["name"] = "dense"  # as layouts call it; the nearest family is one of experts
            axes.append({"axis": axis.axis, "options": [{key: value for key, value in entry.items() if value}]})
        axes = axes or [{"axis": "layout", "options": [{"name": AS_FOUND}]}]
        return axes, {axis["axis"]: axis["options"][0]["name"] for axis in axes}

    def _lora(self, entries: list[JsonObject]) -> JsonObject:
        groups = {entry["lora"] for entry in entries if entry.get("lora")}
        trained = {entry["role"] for entry in entries if entry.get("lora")}
        default = [group for group in self.base.lora.default if group in groups]
        if not groups:
            # The contract asks for a group: the first matrix of the layers has to stand for those a person will name.
            entry = next((e for e in entries if len(e["shape"]) == 2 and "{i}" in e["key"]), None)
            entry = entry or next((e for e in entries if len(e["shape"]) in (2, 3)), None)
            if entry is None:
                raise inexpressible("it has no matrix that an adapter could train.")
            entry |= {"lora": "draft", "merge": "delta"}
            default = ["draft"]
        sets = {name: list(roles) for name, roles in self.base.lora.sets.items() if set(roles) <= trained}
        return {"default": default or sorted(groups), **({"sets": sets} if sets else {})}


def recognised(config: JsonObject, id_: str) -> JsonObject:
    """The names by which the configuration says what it is, less those that another family claims."""
    model_type = config.get("model_type")
    named = config.get("architectures")
    free = [str(name) for name in named if name not in NAMES] if isinstance(named, list) else []
    own = model_type if isinstance(model_type, str) and model_type else id_
    return {"model_types": [own], "architectures": list(dict.fromkeys(free)) or [_class_name({}, id_)]}


def _class_name(config: JsonObject, id_: str) -> str:
    named = config.get("architectures")
    free = [str(name) for name in named if name not in NAMES] if isinstance(named, list) else []
    return free[0] if free else "".join(word.capitalize() for word in id_.split("_")) + "ForCausalLM"


def inexpressible(reason: str) -> UnsupportedError:
    """The refusal of a checkpoint that the contract of families has no words for."""
    return UnsupportedError("MENS-K034", f"No family file can say this: {reason}", "", "Nothing was written.")


def _dumped(model: LayerAxis | Tensor | Rope) -> JsonObject:
    value: JsonObject = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return value


def _entry(tensor: Tensor) -> JsonObject:
    """The family's entry; how it is made of another layout's tensors is left out, for there is one layout."""
    return {key: value for key, value in _dumped(tensor).items() if key != "built_from"}


def _uses(entry: JsonObject, axis: str, option: VariantOption) -> bool:
    return axis in entry.get("when", {}) or any(f"{{{name}}}" in entry["key"] for name in option.bind)


def _without_axes(entry: JsonObject, selection: Mapping[str, str]) -> JsonObject:
    when = {axis: [selection[axis]] for axis in entry.get("when", {}) if axis in selection}
    return {key: when if key == "when" else value for key, value in entry.items() if key != "when" or when}


def _name_apart(found: Matching) -> None:
    """Roles are what entries are told apart by; what is new gets a number where its name is taken."""
    taken = {kept.entry["role"] for kept in found.kept}
    for template in found.new:
        role, number = template.entry["role"], 2
        while template.entry["role"] in taken:
            template.entry["role"] = f"{role}_{number}"
            number += 1
        taken.add(template.entry["role"])


def _expressions(body: JsonObject) -> Iterator[str | int]:
    yield from body["indices"].values()
    yield from (body["rope"] or {}).values()
    for axis in body["layer_kinds"] or []:
        yield from (kind["holds_if"] for kind in axis["kinds"])
        yield axis.get("listed_in") or 0
    for tensor in body["tensors"]:
        yield from _tensor_expressions(tensor)


def _tensor_expressions(tensor: JsonObject) -> Iterable[str | int]:
    parts = tensor.get("parts") or {"groups": 0, "pieces": []}
    return [
        *tensor["shape"],
        tensor.get("exists_if") or 0,
        parts["groups"],
        *(piece["size"] for piece in parts["pieces"]),
    ]
