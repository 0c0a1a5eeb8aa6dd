"""Named rules for families and releases: what a schema cannot say about names that refer to each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mens.contracts.expressions import ExpressionError, parse
from mens.contracts.json_types import JsonObject
from mens.contracts.problems import Problem, Rule, nearest, pointer, shown

Path = tuple[str | int, ...]
Written = tuple[Path, Any]
"""A place in the document and what is written there."""

GEOMETRY = ("layers", "hidden", "vocab", "context", "tied")
"""What every command may ask of every family."""
ROUTED_GEOMETRY = ("experts", "top_k")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def expressions_known(family: JsonObject) -> Iterator[Problem]:
    """MENS-K020: an expression parses and reads only names that the family has."""
    geometry = set(family["geometry"])
    indexed = geometry | set(family["indices"])
    for path, source in _expressions(family):
        known = indexed if path[0] in ("layer_kinds", "tensors") and "parts" not in path else geometry
        try:
            names = parse(source).names
        except ExpressionError as error:
            yield Problem("MENS-K020", pointer(*path), str(error))
            continue
        for name in sorted(name for name in names if "." not in name and name not in known):
            message = f"{shown(name)} is not a geometry name of this family.{nearest(name, sorted(known))}"
            yield Problem("MENS-K020", pointer(*path), message)


def geometry_ends(family: JsonObject) -> Iterator[Problem]:
    """MENS-K021: no geometry name rests on itself, and the names that commands ask for are there."""
    formulas = family["geometry"]
    uses = {name: _names(source) & formulas.keys() for name, source in formulas.items()}
    for name in sorted(formulas):
        if name in _reached(uses, name):
            yield Problem("MENS-K021", pointer("geometry", name), f"{shown(name)} rests on itself")
    routed = any(tensor.get("routed") for tensor in family["tensors"])
    for name in (*GEOMETRY, *(ROUTED_GEOMETRY if routed else ())):
        if name not in formulas:
            yield Problem("MENS-K021", "/geometry", f"the geometry lacks {shown(name)}, which commands ask for")


def selections_complete(family: JsonObject) -> Iterator[Problem]:
    """MENS-K022: layouts, memory classes and tensors name the axes and options that are declared."""
    axes = {axis["axis"]: [option["name"] for option in axis["options"]] for axis in family["variants"]}
    memory = [entry["name"] for entry in family["memory"]]
    for section in ("layouts", "memory"):
        for index, entry in enumerate(family[section]):
            for axis in axes.keys() - entry["selection"].keys():
                yield Problem(
                    "MENS-K022", pointer(section, index, "selection"), f"the axis {shown(axis)} is not chosen"
                )
            for axis, option in entry["selection"].items():
                yield from _option(axes, axis, option, (section, index, "selection", axis))
            for place, name in enumerate(entry.get("loads_into", [])):
                if name not in memory:
                    message = f"{shown(name)} is no memory class of this family.{nearest(name, memory)}"
                    yield Problem("MENS-K022", pointer(section, index, "loads_into", place), message)
    for index, tensor in enumerate(family["tensors"]):
        for axis, options in tensor.get("when", {}).items():
            for place, option in enumerate(options):
                yield from _option(axes, axis, option, ("tensors", index, "when", axis, place))


def memory_recognised(family: JsonObject) -> Iterator[Problem]:
    """MENS-K033: a class that upstream builds has a model type and a name that the family recognises."""
    fields = (("model_type", "model_types"), ("architecture", "architectures"))
    for index, entry in enumerate(family["memory"]):
        for field, listed in fields:
            known = family["recognise"][listed]
            if entry[field] not in known:
                message = f"{shown(entry[field])} is not among recognise.{listed}.{nearest(entry[field], known)}"
                yield Problem("MENS-K033", pointer("memory", index, field), message)


def keys_spelled(family: JsonObject) -> Iterator[Problem]:
    """MENS-K023: every placeholder of a tensor name is a running index or a prefix that each layout binds."""
    indices = set(family["indices"])
    for index, tensor in enumerate(family["tensors"]):
        place = pointer("tensors", index, "key")
        bindings = list(_bindings(family, tensor))
        for name in PLACEHOLDER.findall(tensor["key"]):
            if name not in indices and not all(name in bound for bound in bindings):
                known = sorted(indices | {n for bound in _bindings(family, None) for n in bound})
                what = "in every layout that has the tensor" if name in known else f"anywhere.{nearest(name, known)}"
                yield Problem("MENS-K023", place, f"{shown(name)} is no index and no prefix that is bound {what}")
        if set("{}") & set(PLACEHOLDER.sub("", tensor["key"])):
            yield Problem("MENS-K023", place, "a brace is left over")
        if tensor.get("in_layers") and "{i}" not in tensor["key"]:
            yield Problem("MENS-K023", place, "a tensor of some layers has {i} in its name")


def keys_distinct(family: JsonObject) -> Iterator[Problem]:
    """MENS-K024: no layout gives one name to two tensors, unless a condition on the configuration parts them."""
    for section in ("layouts", "memory"):
        for entry in family[section]:
            seen: dict[tuple[str, str | None], int] = {}
            for index, tensor in enumerate(family["tensors"]):
                if tensor.get("exists_if") is None and _stands(tensor, entry["selection"]):
                    name = (tensor["key"], tensor.get("in_layers"))
                    first = seen.setdefault(name, index)
                    if first != index:
                        message = f"{entry['name']} already has this name for tensor {first}"
                        yield Problem("MENS-K024", pointer("tensors", index, "key"), message)


def layer_kinds_known(family: JsonObject) -> Iterator[Problem]:
    """MENS-K025: kinds are distinct, and a tensor lives in a kind that is declared."""
    kinds: list[str] = []
    for index, axis in enumerate(family.get("layer_kinds", [])):
        for place, kind in enumerate(axis["kinds"]):
            if kind["name"] in kinds:
                path = pointer("layer_kinds", index, "kinds", place, "name")
                yield Problem("MENS-K025", path, f"the kind {shown(kind['name'])} is declared twice")
            kinds.append(kind["name"])
    for index, tensor in enumerate(family["tensors"]):
        kind = tensor.get("in_layers")
        if kind is not None and kind not in kinds:
            message = f"{shown(kind)} is no layer kind of this family.{nearest(kind, kinds)}"
            yield Problem("MENS-K025", pointer("tensors", index, "in_layers"), message)


def roles_known(family: JsonObject) -> Iterator[Problem]:
    """MENS-K026: what refers to a role or a group refers to one that some tensor has."""
    roles = {tensor["role"] for tensor in family["tensors"]}
    trained = {tensor["role"] for tensor in family["tensors"] if tensor.get("lora")}
    groups = {tensor["lora"] for tensor in family["tensors"] if tensor.get("lora")}
    wanted: list[tuple[Path, str, set[str], str]] = []
    for index, tensor in enumerate(family["tensors"]):
        if tensor.get("same_as"):
            wanted.append((("tensors", index, "same_as"), tensor["same_as"], roles, "role"))
        for place, role in enumerate((tensor.get("built_from") or {}).get("roles", [])):
            wanted.append((("tensors", index, "built_from", "roles", place), role, roles, "role"))
    for place, group in enumerate(family["lora"]["default"]):
        wanted.append((("lora", "default", place), group, groups, "group of adapter targets"))
    for name, members in family["lora"].get("sets", {}).items():
        for place, role in enumerate(members):
            wanted.append((("lora", "sets", name, place), role, trained, "role that adapters train"))
    for path, name, known, what in wanted:
        if name not in known:
            yield Problem(
                "MENS-K026", pointer(*path), f"{shown(name)} is no {what} here.{nearest(name, sorted(known))}"
            )


def tensor_policies_agree(family: JsonObject) -> Iterator[Problem]:
    """MENS-K027: what an adapter trains is what a merge changes, and only matrices are trained or quantised."""
    for index, tensor in enumerate(family["tensors"]):
        at = ("tensors", index)
        if bool(tensor.get("lora")) != (tensor.get("merge", "copy") == "delta"):
            yield Problem("MENS-K027", pointer(*at), "`lora` and `merge: delta` go together")
        if (tensor.get("lora") or tensor.get("nf4")) and len(tensor["shape"]) not in (2, 3):
            yield Problem(
                "MENS-K027", pointer(*at, "shape"), "only a matrix, or a stack of them, is trained or quantised"
            )
        parts = tensor.get("parts")
        if parts and parts["axis"] >= len(tensor["shape"]):
            yield Problem("MENS-K027", pointer(*at, "parts", "axis"), f"the tensor has {len(tensor['shape'])} axes")
        for place, step in enumerate((tensor.get("built_from") or {}).get("steps", [])):
            if step["op"] == "stack" and step["over"] not in family["indices"]:
                message = f"{shown(step['over'])} is no running index"
                yield Problem("MENS-K027", pointer(*at, "built_from", "steps", place, "over"), message)


def evidence_known(document: JsonObject) -> Iterator[Problem]:
    """MENS-K028: what cites evidence cites an entry of the document's own."""
    known = document["evidence"]
    for path, value in _walk({key: value for key, value in document.items() if key != "evidence"}, ()):
        if path[-1] == "evidence" and isinstance(value, list):
            for place, name in enumerate(value):
                if name not in known:
                    message = f"{shown(name)} is no entry of evidence.{nearest(name, sorted(known))}"
                    yield Problem("MENS-K028", pointer(*path, place), message)


def licences_evidenced(release: JsonObject) -> Iterator[Problem]:
    """MENS-K029: a licence is stated with evidence, or not at all."""
    for index, model in enumerate(release["models"]):
        licence = model["licence"]
        if licence["expression"] != "NOASSERTION" and not licence.get("evidence"):
            message = "a licence without evidence is NOASSERTION"
            yield Problem("MENS-K029", pointer("models", index, "licence", "expression"), message)


def support_stated(release: JsonObject) -> Iterator[Problem]:
    """MENS-K030: a model has a family, or a reason why it has none; the default has all that commands need."""
    for index, model in enumerate(release["models"]):
        if bool(model.get("family")) == bool(model.get("unsupported")):
            yield Problem(
                "MENS-K030", pointer("models", index), "a model has either a family or a reason for having none"
            )
        ready = (
            model.get("family")
            and model["availability"] == "open_weights"
            and (model.get("config") or model.get("config_of"))
        )
        if model.get("default") and not ready:
            message = "the default model needs a family, open weights and a configuration"
            yield Problem("MENS-K030", pointer("models", index, "default"), message)


def configurations_found(release: JsonObject) -> Iterator[Problem]:
    """MENS-K031: a shared configuration is that of a model of this release which has one; none is named twice."""
    own = {model["repo"] for model in release["models"] if model.get("config")}
    seen: set[str] = set()
    for index, model in enumerate(release["models"]):
        shared = model.get("config_of")
        if shared is not None and shared not in own:
            message = f"{shown(shared)} has no configuration in this release.{nearest(shared, sorted(own))}"
            yield Problem("MENS-K031", pointer("models", index, "config_of"), message)
        if shared is not None and model.get("config"):
            yield Problem(
                "MENS-K031", pointer("models", index, "config"), "a model has its own configuration or shares one"
            )
        if model["repo"] in seen:
            yield Problem("MENS-K031", pointer("models", index, "repo"), f"{shown(model['repo'])} is listed twice")
        seen.add(model["repo"])


def tokens_known(release: JsonObject) -> Iterator[Problem]:
    """MENS-K032: the tokens that stop and pad are special tokens of the series, and each number is one token's."""
    tokens = release.get("tokens") or {"special": {}}
    special = tokens["special"]
    places: list[Written] = [(("tokens", "stop", place), name) for place, name in enumerate(tokens.get("stop", []))]
    places += [(("tokens", "pad"), tokens["pad"])] if tokens.get("pad") else []
    for path, name in places:
        if name not in special:
            yield Problem(
                "MENS-K032", pointer(*path), f"{shown(name)} is no special token here.{nearest(name, special)}"
            )
    owners: dict[int, str] = {}
    for name, number in special.items():
        first = owners.setdefault(number, name)
        if first != name:
            yield Problem("MENS-K032", pointer("tokens", "special", name), f"{number} is already {shown(first)}")


FAMILY_RULES: tuple[Rule, ...] = (
    expressions_known,
    geometry_ends,
    selections_complete,
    memory_recognised,
    keys_spelled,
    keys_distinct,
    layer_kinds_known,
    roles_known,
    tensor_policies_agree,
    evidence_known,
)
RELEASE_RULES: tuple[Rule, ...] = (
    evidence_known,
    licences_evidenced,
    support_stated,
    configurations_found,
    tokens_known,
)
RULES: dict[str, tuple[Rule, ...]] = {"family": FAMILY_RULES, "release": RELEASE_RULES}


def _expressions(family: JsonObject) -> Iterator[Written]:
    """Every expression of the document, with its place."""
    for section in ("geometry", "indices"):
        yield from (((section, name), source) for name, source in family[section].items())
    yield from ((("rope", name), source) for name, source in (family.get("rope") or {}).items() if source is not None)
    for index, axis in enumerate(family.get("layer_kinds", [])):
        if axis.get("listed_in"):
            yield ("layer_kinds", index, "listed_in"), axis["listed_in"]
        for place, kind in enumerate(axis["kinds"]):
            yield ("layer_kinds", index, "kinds", place, "holds_if"), kind["holds_if"]
    for index, tensor in enumerate(family["tensors"]):
        yield from _tensor_expressions(tensor, ("tensors", index))


def _tensor_expressions(tensor: JsonObject, at: Path) -> Iterator[Written]:
    yield from (((*at, "shape", place), source) for place, source in enumerate(tensor["shape"]))
    if tensor.get("exists_if") is not None:
        yield (*at, "exists_if"), tensor["exists_if"]
    if tensor.get("parts"):
        yield (*at, "parts", "groups"), tensor["parts"]["groups"]
        for place, piece in enumerate(tensor["parts"]["pieces"]):
            yield (*at, "parts", "pieces", place, "size"), piece["size"]


def _names(source: str | int) -> set[str]:
    try:
        return set(parse(source).names)
    except ExpressionError:
        return set()


def _reached(uses: dict[str, set[str]], start: str) -> set[str]:
    """Every name that a name rests on, near or far."""
    reached: set[str] = set()
    waiting = list(uses[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(uses[name])
    return reached


def _option(axes: dict[str, list[str]], axis: str, option: str, path: Path) -> Iterator[Problem]:
    if axis not in axes:
        yield Problem("MENS-K022", pointer(*path), f"{shown(axis)} is no variant axis.{nearest(axis, axes)}")
    elif option not in axes[axis]:
        message = f"{shown(option)} is no option of {axis}.{nearest(option, axes[axis])}"
        yield Problem("MENS-K022", pointer(*path), message)


def _stands(tensor: JsonObject, selection: JsonObject) -> bool:
    return all(selection.get(axis) in options for axis, options in tensor.get("when", {}).items())


def _bindings(family: JsonObject, tensor: JsonObject | None) -> Iterator[JsonObject]:
    """The prefixes of every layout and memory class in which a tensor stands."""
    for section in ("layouts", "memory"):
        for entry in family[section]:
            if tensor is None or _stands(tensor, entry["selection"]):
                bound: JsonObject = {}
                for axis in family["variants"]:
                    for option in axis["options"]:
                        if option["name"] == entry["selection"].get(axis["axis"]):
                            bound |= option.get("bind", {})
                yield bound


def _walk(value: Any, path: Path) -> Iterator[Written]:
    """Every value below, with its place; free configurations are not looked into."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        below = (*path, key)
        yield below, item
        if key not in ("config", "common_config", "tiny_config"):
            yield from _walk(item, below)
