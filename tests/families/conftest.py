"""The cases of the key map's proofs: every configuration that the data holds, and what upstream builds from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import BuiltFrom, FamilyV1, MemoryClass
from mens_contracts.releases import RELEASES

from mens.checkpoint.keys.releases import model_config
from mens.contracts.json_types import JsonObject


class Case(NamedTuple):
    """One configuration of a family and one class that upstream builds from it."""

    name: str
    family: FamilyV1
    config: JsonObject
    memory: MemoryClass

    @property
    def class_config(self) -> JsonObject:
        """The part of the configuration that the class is built from."""
        return section_of(self.config, self.memory)


def section_of(config: JsonObject, memory: MemoryClass) -> JsonObject:
    section = config.get("text_config", config) if memory.config_section == "text" else config
    return copy.deepcopy(section)


def applies(memory: MemoryClass, config: JsonObject) -> bool:
    return bool(section_of(config, memory).get("model_type") == memory.model_type)


def tiny_for(family: FamilyV1, memory: MemoryClass) -> JsonObject:
    """The family's tiny configuration, dressed for a class of another model type that shares its tensors."""
    config = copy.deepcopy(family.tiny_config)
    if not applies(memory, config):
        config |= {"model_type": memory.model_type, "architectures": [memory.architecture]}
    return config


def geometries() -> list[tuple[str, FamilyV1, JsonObject]]:
    """Every configuration that families and releases hold, under a name."""
    found = []
    for family in FAMILIES.values():
        found.append((f"{family.id}-tiny", family, family.tiny_config))
        found += [(f"{family.id}-{example.title}", family, example.config) for example in family.examples]
    for release in RELEASES.values():
        for model in release.models:
            config = model_config(release, model)
            if config is not None and model.config_of is None:
                assert model.family is not None, model.repo
                found.append((model.repo, FAMILIES[model.family], config))
    return found


def cases() -> list[Case]:
    return [
        Case(f"{name}:{memory.name}", family, config, memory)
        for name, family, config in geometries()
        for memory in family.memory
        if applies(memory, config)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        everything = cases()
        metafunc.parametrize("case", everything, ids=[case.name for case in everything])
    if "family" in metafunc.fixturenames and "layout" not in metafunc.fixturenames:
        families = list(FAMILIES.values())
        metafunc.parametrize("family", families, ids=[family.id for family in families])


@pytest.fixture(scope="session")
def all_cases() -> list[Case]:
    return cases()


@pytest.fixture(scope="session")
def all_geometries() -> list[tuple[str, FamilyV1, JsonObject]]:
    return geometries()


@pytest.fixture(scope="session")
def tiny_config() -> Callable[[FamilyV1, MemoryClass], JsonObject]:
    return tiny_for


@pytest.fixture(scope="session")
def built() -> Callable[[BuiltFrom, list[list[torch.Tensor]]], torch.Tensor]:
    return _built


def _built(recipe: BuiltFrom, columns: list[list[torch.Tensor]]) -> torch.Tensor:
    """Follow a recipe over a list of tensors for each role: concat joins roles, stack joins what runs over an index."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    for step in recipe.steps:
        if step.op == "concat":
            rows = [[torch.cat(row, dim=step.axis)] for row in rows]
        elif step.op == "stack":
            rows = [[torch.stack([row[0] for row in rows], dim=step.axis)]]
        else:
            rows = [[tensor.transpose(step.axis, step.other) for tensor in row] for row in rows]
    ((result,),) = rows
    return result
