"""An inspection for people: what a checkpoint is, in a dozen lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from mens_contracts.inspection_v1 import InspectionV1, SeriesCandidate

from mens.contracts.positions import named

INDENT: Final = 10
WIDTH: Final = 100
DOT: Final = " · "
SHOWN: Final = 5
DIGEST: Final = 12


def inspection_text(report: InspectionV1) -> str:
    """Return the inspection as a person reads it."""
    return "\n".join(_visible(line) for row in _lines(report) for line in row.split("\n")) + "\n"


def _visible(line: str) -> str:
    """A line that does nothing to a terminal, whatever the checkpoint's files hold."""
    line = line.rstrip()
    return line if line.isprintable() else "".join(char if char.isprintable() else named(char) for char in line)


def _lines(report: InspectionV1) -> Iterator[str]:
    yield _title(report)
    yield from _parts(report)
    yield from _positions(report)
    yield from _words(report)
    yield from _series(report)
    yield from _coverage(report)
    yield from _identity(report)
    for refusal in report.refusals:
        yield _row("refused", f"{refusal.operation}: {refusal.code}")
    for warning in report.warnings:
        yield _row("note", warning)


def _row(heading: str, text: str) -> str:
    """A heading and what stands under it; long lines break between facts."""
    lines = [""]
    for part in text.split(DOT):
        if lines[-1] and len(lines[-1]) + len(DOT) + len(part) > WIDTH:
            lines.append("")
        lines[-1] += f"{DOT}{part}" if lines[-1] else part
    break_ = f"\n{' ' * INDENT}"
    return f"{f'  {heading}':<{INDENT}}{break_.join(lines)}"


def _title(report: InspectionV1) -> str:
    path = (report.path or "").partition("@")[0] if report.base and report.base.repo else report.path or ""
    name = os.path.basename(path.rstrip("/")) or path or "checkpoint"
    layout = (report.layout.name or "undeclared").replace("_", " ")
    said = f"{name}   {report.family} · {layout} layout · {_types(report)}"
    quantised = f" · quantised: {report.quantisation.method}" if report.quantisation else ""
    return f"{said}{quantised}      licence {_licence(report)}"


def _types(report: InspectionV1) -> str:
    (main, _), *others = sorted(report.dtypes.items(), key=lambda item: -item[1].bytes)
    rest = ", ".join(f"{use.num_tensors:,} tensors {dtype}" for dtype, use in others)
    return f"{main.lower()} ({rest})" if rest else main.lower()


def _licence(report: InspectionV1) -> str:
    licence = report.licence
    if licence is None or licence.expression == "NOASSERTION":
        return "NOASSERTION (no evidence for this revision)"
    return f"{licence.expression} ({', '.join(licence.evidence)})"


def _parts(report: InspectionV1) -> Iterator[str]:
    counts, layout = report.parameters, report.layout
    yield _row("text", f"{_size(counts.text)}   {' · '.join(_text(report))}")
    if layout.vision:
        yield _row("vision", _size(counts.vision))
    if layout.mtp != "absent":
        yield _row("mtp", f"{_size(counts.mtp)}   {layout.mtp.replace('_', ' ')}")
    if len(counts.groups) > 1:
        largest = sorted(counts.groups.items(), key=lambda item: -item[1])
        shown = DOT.join(f"{name} {_size(number)}" for name, number in largest)
        yield _row("groups", shown)


def _text(report: InspectionV1) -> Iterator[str]:
    geometry, kinds = report.geometry, report.layer_kinds
    if "layers" in geometry:
        named = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in kinds.items() if number)
        yield f"{geometry['layers']} layers{f': {named}' if len(kinds) > 1 else ''}"
    if "hidden" in geometry:
        yield f"hidden {geometry['hidden']}"
    if report.layout.experts != "none":
        chosen = f"{geometry.get('experts', 0)} experts, {geometry.get('top_k', 0)} chosen"
        how = "fused" if report.layout.experts == "fused" else "one by one"
        yield f"{chosen}, stored {how} · {_size(report.parameters.active)} active"
    yield "tied" if report.tied else "not tied"


def _positions(report: InspectionV1) -> Iterator[str]:
    context = [] if report.context_length is None else [f"{report.context_length:,} positions"]
    rope = report.rope
    if rope is None:
        yield _row("rope", DOT.join(["none", *context]))
        return
    parts = ["theta not said" if rope.theta is None else f"theta {rope.theta:,.10g}"]
    if rope.partial_factor != 1:
        parts.append(f"{100 * rope.partial_factor:g} % of each head")
    if rope.mrope_section:
        way = "interleaved" if rope.mrope_interleaved else "one after another"
        parts.append(f"sections {'+'.join(map(str, rope.mrope_section))} {way}")
    if rope.scaling is not None:
        factor = "" if rope.scaling.factor is None else f" × {rope.scaling.factor:g}"
        parts.append(f"{rope.scaling.method}{factor}")
    yield _row("rope", DOT.join([*parts, f"frequencies {rope.inv_freq}", *context]))


def _words(report: InspectionV1) -> Iterator[str]:
    tokens, template = report.tokenizer, report.chat_template
    if tokens is None:
        yield _row("tokens", "no tokenizer beside the weights")
    else:
        counted = "not counted" if tokens.num_tokens is None else f"{tokens.num_tokens:,}"
        yield _row("tokens", f"{counted} of {tokens.num_rows:,} rows · {_ends(report)}")
    if template is None:
        yield _row("chat", "no template beside the weights")
        return
    thinking = {"on": "thinking on by default", "off": "thinking off by default", "absent": "no thinking"}
    said = thinking.get(template.thinking_default or "", "thinking not told")
    marks = "marks what the assistant says" if template.generation_marks else "no generation marks"
    yield _row("chat", f"template {template.sha256[:DIGEST]}… · {said} · {marks}")


def _ends(report: InspectionV1) -> str:
    tokens = report.tokenizer
    assert tokens is not None
    eos, pad = tokens.eos_token or "not declared", tokens.pad_token or "not declared"
    return f"eos {eos} {'=' if tokens.pad_is_eos else '≠'} pad {pad}"


def _series(report: InspectionV1) -> Iterator[str]:
    if not report.series:
        yield _row("series", "no published model with these shapes is recorded")
    exact = [one for one in report.series if one.exact]
    if exact:
        yield _row("series", f"as recorded for {_named(exact)}")
    for one in [one for one in report.series if not one.exact][:SHOWN]:
        more = f" and {len(one.differences) - 1} more" if len(one.differences) > 1 else ""
        yield _row("series", f"the shapes of {_named([one])}, but {one.differences[0]}{more}")


def _named(candidates: list[SeriesCandidate]) -> str:
    return ", ".join(one.repo or f"{one.release} {one.size}" for one in candidates)


def _coverage(report: InspectionV1) -> Iterator[str]:
    coverage = report.coverage
    total = coverage.matched + len(coverage.unknown) + len(coverage.mismatched)
    yield _row("cover", f"{coverage.matched:,} of {total:,} tensors matched")
    different = [f"{entry.key}: {entry.found}, not {entry.expected}" for entry in coverage.mismatched]
    lists = {"unknown": coverage.unknown, "missing": coverage.missing, "differs": different}
    for heading, names in lists.items():
        for name in names[:SHOWN]:
            yield _row(heading, name)
        if len(names) > SHOWN:
            yield _row(heading, f"and {len(names) - SHOWN:,} more")


def _identity(report: InspectionV1) -> Iterator[str]:
    base = report.base
    content = "unknown, no digest recorded or computed"
    if base is not None and base.state == "declared":
        content = f"declared ({base.source}), not recomputed"
    yield _row("print", f"{report.fingerprint[: len('arch:') + DIGEST]}…  content: {content}")
    if base is not None and base.repo:
        yield _row("from", f"{base.repo}@{base.revision or 'unknown revision'}")


def _size(number: int) -> str:
    for unit, size in {"B": 10**9, "M": 10**6, "k": 10**3}.items():
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)
