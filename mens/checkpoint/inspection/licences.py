"""The licence of a checkpoint: what a release records of the repository that it came from, with its evidence."""

from __future__ import annotations

from typing import NamedTuple

from mens_contracts.releases import RELEASES, REPOS

from mens.contracts.json_types import JsonObject


class LicenceFacts(NamedTuple):
    """A licence and the evidence that it cites, as the report holds them."""

    licence: JsonObject
    evidence: JsonObject
    warnings: tuple[str, ...]


def licence_facts(repo: str | None, revision: str | None) -> LicenceFacts:
    """Return what is known; NOASSERTION where nobody knows where the checkpoint comes from, or nothing is recorded."""
    if repo is None or repo not in REPOS:
        return LicenceFacts({"expression": "NOASSERTION"}, {}, ())
    release = RELEASES[REPOS[repo]]
    model = next(model for model in release.models if model.repo == repo)
    licence = model.licence.model_dump(mode="json", by_alias=True)
    cited = {name: release.evidence[name] for name in model.licence.evidence}
    evidence = {name: entry.model_dump(mode="json", by_alias=True) for name, entry in cited.items()}
    warnings: list[str] = []
    if cited and not any(entry.revision == revision and repo in entry.source for entry in cited.values()):
        warnings.append(f"the licence is recorded for {repo}; no evidence names the revision that lies here")
    return LicenceFacts(licence, evidence, tuple(warnings))
