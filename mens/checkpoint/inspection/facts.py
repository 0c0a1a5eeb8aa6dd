"""Everything that was worked out about a checkpoint, before it is put into words or into a document."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from mens_contracts.family_v1 import FamilyV1

from mens.checkpoint.inspection.census import Census, take_census
from mens.checkpoint.inspection.licences import LicenceFacts, licence_facts
from mens.checkpoint.inspection.nearest import explained
from mens.checkpoint.inspection.rope import rope_facts
from mens.checkpoint.inspection.series import Candidate, candidates
from mens.checkpoint.inspection.template_facts import Template, Thinking, chat_template
from mens.checkpoint.inspection.tokenizer_facts import Tokenizer, tokenizer_facts
from mens.checkpoint.inspection.verdicts import quantised_refusal, too_few
from mens.checkpoint.keys.geometry import Geometry, sections
from mens.checkpoint.keys.keymap import TensorSpec, expand
from mens.checkpoint.keys.layout import DetectedLayout, detect
from mens.checkpoint.keys.recognition import recognise
from mens.checkpoint.storage import hub
from mens.checkpoint.storage.fingerprint import fingerprint_of
from mens.checkpoint.storage.folder import Checkpoint
from mens.checkpoint.storage.quantised import Quantisation
from mens.contracts.errors import IntegrityError, UnsupportedError
from mens.contracts.json_types import JsonObject

EMBEDDING = "embedding"
"""A role that every family has."""
MANY = 10_000
DECLARED = ("quantization_config", "compression_config")


@dataclass(frozen=True)
class Facts:
    """A checkpoint with everything known about it."""

    checkpoint: Checkpoint
    family: FamilyV1
    layout: DetectedLayout
    specs: list[TensorSpec]
    numbers: Geometry
    census: Census
    rope: JsonObject | None
    tokenizer: Tokenizer | None
    template: Template | None
    series: list[Candidate]
    licence: LicenceFacts
    declared: hub.Declared
    fingerprint: str

    @property
    def config(self) -> JsonObject:
        """The configuration as it was written."""
        return self.checkpoint.config.value

    @property
    def num_rows(self) -> int:
        """Rows of the embedding, as they lie on disk."""
        keys = (spec.key for spec in self.specs if spec.role == EMBEDDING)
        shapes = [self.checkpoint.tensors[key].shape for key in keys if key in self.checkpoint.tensors]
        return shapes[0][0] if shapes and shapes[0] else self.numbers.integer("vocab")

    @property
    def quantisation(self) -> Quantisation | None:
        """How the weights are quantised; odd types alone, under the family's own names, are a fault and no method."""
        found = self.checkpoint.quantisation
        said = any(section.get(name) for section in sections(self.config).values() for name in DECLARED)
        return None if found and found.method == "other" and not said and not self.census.unknown else found

    @property
    def recorded_thinking(self) -> Thinking | None:
        """What releases record of the model, or of every model that it may be."""
        matching = [one.model for one in self.series if one.exact]
        known = [model for model in matching if model.repo == self.declared.repo] or matching
        told = {model.thinking_default for model in known}
        if len(told) != 1:
            return None
        thinks: dict[bool | None, Thinking | None] = {True: "on", False: "off", None: None}
        return thinks[told.pop()]


def gather(checkpoint: Checkpoint) -> Facts:
    """Work everything out; raises where the checkpoint cannot be recognised or a file of it cannot be read."""
    config, tensors, folder = checkpoint.config.value, checkpoint.tensors, checkpoint.folder
    family = _family(checkpoint)
    layout = _layout(family, checkpoint)
    specs = _expected(family, layout, checkpoint)
    numbers = Geometry(family, config)
    declared = hub.declared(folder, [shard.name for shard in checkpoint.shards])
    return Facts(
        checkpoint,
        family,
        layout,
        specs,
        numbers,
        census=take_census(specs, tensors, numbers),
        rope=rope_facts(family, config, numbers, tensors),
        tokenizer=tokenizer_facts(folder, config),
        template=chat_template(folder),
        series=candidates(family, config, declared.repo),
        licence=licence_facts(declared.repo, declared.revision),
        declared=declared,
        fingerprint=fingerprint_of(checkpoint),
    )


def _expected(family: FamilyV1, layout: DetectedLayout, checkpoint: Checkpoint) -> list[TensorSpec]:
    """Every tensor that should be there; what makes far more than there are is not followed."""
    most = 2 * len(checkpoint.tensors) + MANY
    specs = list(islice(expand(family, checkpoint.config.value, layout.selection), most + 1))
    if len(specs) > most:
        raise too_few(checkpoint, family, most)
    return specs


def _family(checkpoint: Checkpoint) -> FamilyV1:
    config = checkpoint.config.value
    try:
        return recognise(config)
    except UnsupportedError as error:
        if error.code != "MENS-K002":
            raise
        raise explained(error, config, checkpoint.tensors) from None


def _layout(family: FamilyV1, checkpoint: Checkpoint) -> DetectedLayout:
    """The layout; where quantised weights have other names altogether, that is the reason that is given."""
    try:
        return detect(family, checkpoint.tensors)
    except IntegrityError:
        if checkpoint.quantisation is None:
            raise
        raise quantised_refusal(checkpoint, checkpoint.quantisation) from None
