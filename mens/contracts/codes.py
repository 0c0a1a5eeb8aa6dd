"""Every code that a finding or a refusal can carry: its title, and the exit code it leads to."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means, in one line, and how a command that meets it ends."""

    title: str
    exit_code: int


CODES: dict[str, Code] = {
    "MENS-S001": Code("the text cannot be read strictly as JSON or YAML", 1),
    "MENS-V001": Code("a value has the wrong type", 1),
    "MENS-V002": Code("a required field is missing", 1),
    "MENS-V003": Code("a field is unknown", 1),
    "MENS-V004": Code("a value is not one of those allowed", 1),
    "MENS-V005": Code("a number is out of bounds", 1),
    "MENS-V006": Code("a text is too short or too long", 1),
    "MENS-V007": Code("a text does not have the required form", 1),
    "MENS-V008": Code("a list has too few or too many entries", 1),
    "MENS-V009": Code("a value takes none of the allowed forms", 1),
    "MENS-V010": Code("a key may not stand in this map", 1),
    "MENS-V099": Code("the schema and the generated model disagree", 1),
    "MENS-R001": Code("the warm-up is longer than training", 1),
    "MENS-R002": Code("ce_last_k reaches beyond the sequence", 1),
    "MENS-R003": Code("a limit of the deployment target is exceeded", 1),
    "MENS-R004": Code("a name is claimed by two documents", 1),
    "MENS-R005": Code("a field stands at the wrong level", 1),
    "MENS-R006": Code("the method and the base's quantisation contradict each other", 1),
    "MENS-R007": Code("an adapter configuration has an unknown field with a value", 1),
    "MENS-R008": Code("a configuration names code to run", 4),
    "MENS-R009": Code("a row takes none of the forms, or several", 1),
    "MENS-U001": Code("a file is of no kind that is known here", 3),
    "MENS-U002": Code("a kind or version is unknown", 3),
    "MENS-U003": Code("a family is unknown", 3),
    "MENS-P001": Code("a path could leave the artifact's folder", 4),
    "MENS-P002": Code("not a regular file", 4),
    "MENS-P003": Code("a file is larger than any document", 4),
    "MENS-P004": Code("a path names nothing", 2),
    "MENS-P005": Code("a file cannot be read", 5),
    "MENS-P006": Code("a file cannot be written", 5),
    "MENS-M001": Code("no migration leads there", 3),
    "MENS-M002": Code("a document is not complete enough to be migrated", 1),
    "MENS-M003": Code("not a version of this kind", 2),
    "MENS-G001": Code("a schema leaves the keyword subset", 1),
    "MENS-G002": Code("a schema file and the kind registry disagree", 1),
    "MENS-G003": Code("a data file is refused", 1),
    "MENS-G004": Code("generated code does not parse", 1),
}


def exit_code(codes: set[str]) -> int:
    """How a command ends that met these codes: the highest of their exit codes, 0 for none."""
    return max((CODES[code].exit_code for code in codes), default=0)
