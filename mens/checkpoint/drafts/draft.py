"""Drafts of family and release files for a checkpoint that nobody has described yet.

What stands in a draft was read from the checkpoint's own configuration and headers; what they do not say is left to a
person, marked FILL IN. A draft is held to its contract, and to the checkpoint that it was made from, before anybody
sees it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, NamedTuple

from mens_contracts.families import FAMILIES, NAMES, RECOGNISE
from mens_contracts.family_v1 import FamilyV1
from mens_contracts.hf_config_v1 import HfConfigV1
from mens_contracts.release_v1 import ReleaseV1
from mens_contracts.releases import RELEASES

from mens.checkpoint.drafts import words as draft_words
from mens.checkpoint.drafts.family import CHECKPOINT, FamilyDrafter, inexpressible, recognised
from mens.checkpoint.drafts.release import release_document
from mens.checkpoint.drafts.text import Comments, yaml_text
from mens.checkpoint.inspection.census import take_census
from mens.checkpoint.inspection.facts import DECLARED
from mens.checkpoint.inspection.nearest import nearest_family
from mens.checkpoint.inspection.verdicts import incomplete, quantised_refusal
from mens.checkpoint.keys.geometry import Geometry, sections
from mens.checkpoint.keys.keymap import expand
from mens.checkpoint.keys.layout import detect
from mens.checkpoint.keys.recognition import recognise
from mens.checkpoint.storage import hub
from mens.checkpoint.storage.folder import CONFIG, Checkpoint, open_checkpoint
from mens.checkpoint.storage.headers import without_collection
from mens.checkpoint.storage.quantised import quantisation
from mens.contracts import door
from mens.contracts.errors import ContractError, IntegrityError, MensError, UsageError
from mens.contracts.json_types import JsonObject

IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
PARTED: Final = frozenset({"evidence", "geometry", "variants", "tensors", "tiny_config", "tokens", "models"})
PRIVATE: Final = frozenset({"_name_or_path", "transformers_version"})
"""Fields of a configuration that say where and with what it was written."""


class Seen(NamedTuple):
    """What there is to draft from: a checkpoint with its headers, or a configuration alone."""

    name: str
    config: JsonObject
    checkpoint: Checkpoint | None

    @property
    def source(self) -> str:
        """What evidence entries name."""
        what = "config.json and tensor headers" if self.checkpoint else "config.json"
        return f"{what} of {self.name}"[:500]


@dataclass(frozen=True)
class Draft:
    """A draft, what it rests on, and what the nearest family has in common with the checkpoint."""

    kind: Literal["family", "release"]
    id: str
    document: JsonObject
    text: str
    nearest: str
    num_tensors: int | None
    """Tensors in the headers; None where there were none to read."""
    matched: int = 0
    new: Mapping[str, int] | None = None
    """How many tensors each template stands for that the nearest family does not have."""
    absent: tuple[str, ...] = ()
    """Names of the nearest family that are not here, with a star for every running number."""


def seen(reference: str) -> Seen:
    """Read a configuration, and headers where there are any. Raises as opening a checkpoint does."""
    path = Path(os.path.expanduser(reference))
    if path.is_file():
        return Seen(path.absolute().parent.name or path.name, dict(door.load(path, HfConfigV1).value), None)
    folder = hub.resolve(reference).folder
    name = folder.absolute().name
    if (folder / CONFIG).is_file() and not any(item.name.endswith(".safetensors") for item in folder.iterdir()):
        return Seen(name, dict(door.load(folder / CONFIG, HfConfigV1).value), None)
    checkpoint = open_checkpoint(folder)
    return Seen(name, dict(checkpoint.config.value), checkpoint)


@without_collection()
def draft(found: Seen, id_: str | None, today: date) -> Draft:
    """Return a release where a family reads the checkpoint already, else a family.

    UnsupportedError for quantised weights, IntegrityError where a family claims the model type and the tensors are not
    its own, UsageError for a name that cannot be given.
    """
    _refuse_quantised(found)
    evidence = {"source": found.source, "checked_on": today.isoformat(), "status": "primary"}
    if found.config.get("model_type") in RECOGNISE:
        family = recognise(found.config)
        return _release(found, family, _read_as(found, family), _release_id(found, id_), evidence)
    for name in _class_claimants(found.config):
        matched = _fitting(found, FAMILIES[name])
        if matched is not None:
            return _release(found, FAMILIES[name], matched, _release_id(found, id_), evidence)
    return _family(found, _family_id(found, id_), evidence)


def _refuse_quantised(found: Seen) -> None:
    """Packed weights show how they were packed, not what the architecture is."""
    if found.checkpoint is not None:
        packed = quantisation(found.config, found.checkpoint.tensors.values())
        said = any(section.get(name) for section in sections(found.config).values() for name in DECLARED)
        if packed is not None and (said or packed.method != "other"):
            raise quantised_refusal(found.checkpoint, packed)


def _read_as(found: Seen, family: FamilyV1) -> int | None:
    """How many tensors match the family that claims the model type; raises where any does not."""
    checkpoint = found.checkpoint
    if checkpoint is None:
        return None
    layout = detect(family, checkpoint.tensors)
    specs = list(expand(family, found.config, layout.selection))
    census = take_census(specs, checkpoint.tensors, Geometry(family, found.config))
    if not census.complete:
        raise incomplete(checkpoint, family, census)
    return census.matched


def _class_claimants(config: JsonObject) -> list[str]:
    """Families that claim the class of an unknown model type; a family of its own could not claim it again."""
    named = config.get("architectures")
    names = [str(name) for name in named] if isinstance(named, list) else []
    return list(dict.fromkeys(NAMES[name] for name in names if name in NAMES))


def _fitting(found: Seen, family: FamilyV1) -> int | None:
    try:
        return _read_as(found, family)
    except MensError:
        return None


def _release(found: Seen, family: FamilyV1, matched: int | None, id_: str, evidence: JsonObject) -> Draft:
    numbers = Geometry(family, found.config).known()
    document = release_document(
        id_, family.id, found.checkpoint, cleaned(found.config), numbers, evidence, found.config
    )
    model_type = str(found.config.get("model_type"))
    claim = family.id if model_type not in family.recognise.model_types else None
    comments = draft_words.release_comments(document, claim, model_type)
    head = draft_words.heading("release", found.source, family.id, numbers)
    text = head + yaml_text(document, comments, PARTED)
    door.loads(text, ReleaseV1, f"{id_}.yaml")
    count = None if found.checkpoint is None else len(found.checkpoint.tensors)
    return Draft("release", id_, document, text, family.id, count, matched or 0)


def _family(found: Seen, id_: str, evidence: JsonObject) -> Draft:
    checkpoint = found.checkpoint
    if checkpoint is None:
        return _unseen_family(found, id_, evidence)
    nearest = nearest_family(found.config, checkpoint.tensors)
    base = nearest.family if nearest else nearest_by_config(found.config)
    selection = nearest.selection if nearest else base.layouts[0].selection
    drafter = FamilyDrafter(base, selection, found.config, checkpoint.tensors)
    matching = drafter.matching
    new = {template.entry["key"]: template.num_tensors for template in matching.new}
    matched = sum(kept.num_tensors for kept in matching.kept)
    fact = draft_words.fact(base.id, matched, len(checkpoint.tensors), new, matching.absent)
    document = drafter.document(id_, f"As found in {found.name}"[:200], evidence, fact, cleaned(found.config))
    comments = draft_words.family_comments(document, drafter.numbers.known(), base.id)
    first = len(matching.kept)
    for place, template in enumerate(matching.new):
        comments["tensors", first + place] = list(template.remarks)
    model, text = _checked(id_, document, comments, found, base.id, drafter.numbers.known())
    _prove(found, checkpoint, model)
    return Draft("family", id_, document, text, base.id, len(checkpoint.tensors), matched, new, tuple(matching.absent))


def _checked(
    id_: str, document: JsonObject, comments: Comments, found: Seen, base: str, numbers: JsonObject
) -> tuple[FamilyV1, str]:
    text = draft_words.heading("family", found.source, base, numbers) + yaml_text(document, comments, PARTED)
    try:
        return door.loads(text, FamilyV1, f"{id_}.yaml").model, text
    except ContractError as error:
        raise inexpressible(error.what) from None


def _prove(found: Seen, checkpoint: Checkpoint, model: FamilyV1) -> None:
    """Read the checkpoint with the draft: every tensor, or there is no draft."""
    layout = detect(model, checkpoint.tensors)
    specs = list(expand(model, found.config, layout.selection))
    census = take_census(specs, checkpoint.tensors, Geometry(model, found.config))
    if not census.complete:
        said = incomplete(checkpoint, model, census)
        raise IntegrityError(said.code, said.what, said.where, "No draft reads these tensors; nothing was written.")


def _unseen_family(found: Seen, id_: str, evidence: JsonObject) -> Draft:
    """The nearest family's own file under new names: without headers nothing can be compared."""
    base = nearest_by_config(found.config)
    claims = recognised(found.config, id_)
    document: JsonObject = base.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    nested = isinstance(found.config.get("text_config"), dict)
    memory = next((entry for entry in document["memory"] if entry["config_section"] == "root" and nested), None)
    memory = memory or document["memory"][0]
    memory |= {"model_type": claims["model_types"][0], "architecture": claims["architectures"][0]}
    for layout in document["layouts"]:
        layout.pop("evidence", None)
        layout["loads_into"] = [name for name in layout.get("loads_into", []) if name == memory["name"]]
    fact = f"No tensor was seen: every name and shape is that of family '{base.id}' and stands to be checked."
    document |= {
        "schema": "mens/family/v1",
        "id": id_,
        "title": "FILL IN: the series that it covers",
        "tier": "frozen",
        "recognise": claims,
        "evidence": {CHECKPOINT: evidence},
        "facts": [{"about": "draft", "statement": fact, "evidence": [CHECKPOINT]}],
        "memory": [memory],
        "tiny_config": cleaned(found.config),
    }
    document.pop("examples", None)
    numbers = Geometry(base, found.config).known()
    comments = draft_words.family_comments(document, numbers, base.id)
    _, text = _checked(id_, document, comments, found, base.id, numbers)
    return Draft("family", id_, document, text, base.id, None)


def nearest_by_config(config: JsonObject) -> FamilyV1:
    """The family of which a configuration gives most numbers; of several, the one with the most to give."""

    def likeness(family: FamilyV1) -> tuple[float, int]:
        return len(Geometry(family, config).known()) / len(family.geometry), len(family.geometry)

    return max(FAMILIES.values(), key=likeness)


def cleaned(config: JsonObject) -> JsonObject:
    """The configuration without what says where and with what it was written."""
    return {
        key: cleaned(item) if isinstance(item, dict) else item for key, item in config.items() if key not in PRIVATE
    }


def _family_id(found: Seen, id_: str | None) -> str:
    model_type = found.config.get("model_type")
    return _free(id_ or identifier(str(model_type or found.name)), NAMES)


def _release_id(found: Seen, id_: str | None) -> str:
    return _free(id_ or identifier(found.name), RELEASES)


def _free(id_: str, taken: Mapping[str, object]) -> str:
    if IDENTIFIER.fullmatch(id_) is None or id_ in taken:
        what = f"'{id_[:100]}' is taken" if id_ in taken else f"{id_[:100]!r} is no name for a family or a release"
        fix = "Give another with --id: small letters, digits and _, a letter first. Nothing was written."
        raise UsageError("MENS-G006", what, "", fix)
    return id_


def identifier(name: str) -> str:
    """A name as families and releases spell it."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
    return text if text[:1].isalpha() else f"m_{text}"[:64].rstrip("_")
