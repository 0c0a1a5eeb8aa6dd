"""The configurations that releases record, laid together from what a series shares and what a model has of its own."""

from __future__ import annotations

from collections.abc import Iterator

from mens_contracts.release_v1 import Model, ReleaseV1

from mens.contracts.json_types import JsonObject


def laid_over(shared: JsonObject, own: JsonObject) -> JsonObject:
    """Return the shared part with a model's own laid over it, section by section; lists are replaced whole."""
    merged = dict(shared)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def model_config(release: ReleaseV1, model: Model) -> JsonObject | None:
    """Return the configuration of a model as its config.json holds it; None where the geometry is not known."""
    source = model
    if model.config_of is not None:
        source = next(other for other in release.models if other.repo == model.config_of)
    return laid_over(release.common_config, source.config) if source.config else None


def configured_models(release: ReleaseV1) -> Iterator[tuple[Model, JsonObject]]:
    """Return every model of a release whose geometry is known, with its configuration."""
    for model in release.models:
        config = model_config(release, model)
        if config is not None:
            yield model, config
