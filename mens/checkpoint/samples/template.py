"""A chat template in words of our own, put together from what a release knows of the official one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mens.checkpoint.samples.series import Series
from mens.checkpoint.samples.tokenizer import TURN_BEGINS, TURN_ENDS

Thinking = Literal["absent", "on", "off", "always"]


@dataclass(frozen=True)
class Behaviour:
    """What the template does, where templates differ."""

    thinking: Thinking = "absent"
    keeps_past_thinking: bool = False
    reasoning_effort: bool = False
    generation_marks: bool = False
    renders_partial: bool = True
    calls: Literal["json_in_tags", "xml_parameters", "none"] = "none"
    call_begins: str = "<tool_call>"
    call_ends: str = "</tool_call>"


def behaviour(series: Series) -> Behaviour | None:
    """Return what the official template does as far as it is known; None where there is no chat template."""
    facts = None if series.release is None else series.release.template
    if series.release is None or facts is None:
        return Behaviour()
    if facts.format == "none":
        return None
    calls = series.release.tool_calls
    return Behaviour(
        thinking=_thinking(series, bool(facts.has_thinking)),
        keeps_past_thinking=bool(facts.keeps_past_thinking),
        reasoning_effort=bool(facts.reasoning_effort),
        generation_marks=bool(facts.generation_marks),
        renders_partial=facts.renders_partial is not False,
        calls="none" if calls is None else calls.format,
        call_begins=(calls and calls.begin) or Behaviour.call_begins,
        call_ends=(calls and calls.end) or Behaviour.call_ends,
    )


def _thinking(series: Series, known: bool) -> Thinking:
    model = series.model
    if not known or model is None or model.variant in ("instruct", "coder", "coder_base"):
        return "absent"
    if model.variant == "thinking":
        return "always"
    return "off" if model.thinking_default is False else "on"


def chat_template(how: Behaviour, pictures: Mapping[str, str]) -> str:
    """Return the template's text; `pictures` are the tokens for image, video, vision_start and vision_end, if any."""
    parts = [_words(pictures), LAST_QUESTION]
    if not how.renders_partial:
        parts.append(NO_QUESTION)
    parts += [_system(how), TURNS, _assistant(how), OTHER_TURNS, _prompt(how)]
    text = "".join(parts)
    return text.replace("TURN_BEGINS", TURN_BEGINS).replace("TURN_ENDS", TURN_ENDS)


def _words(pictures: Mapping[str, str]) -> str:
    begins, ends = pictures.get("vision_start", ""), pictures.get("vision_end", "")
    cases = "".join(
        f"{{%- elif part.type == '{kind}' -%}}{{{{- '{begins}{pictures[kind]}{ends}' -}}}}\n"
        for kind in ("image", "video")
        if kind in pictures
    )
    return WORDS.replace("PICTURES\n", cases)


WORDS: Final = """\
{%- macro words(content) -%}
{%- if content is string -%}{{- content -}}
{%- elif content -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}{{- part.text -}}
PICTURES
{%- else -%}{{- raise_exception('A part of type ' ~ part.type ~ ' cannot be shown here.') -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
"""
LAST_QUESTION: Final = """\
{%- set asked = namespace(at=-1) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set asked.at = loop.index0 -%}{%- endif -%}
{%- endfor -%}
"""
NO_QUESTION: Final = """\
{%- if asked.at < 0 -%}{{- raise_exception('No user query is in this conversation.') -}}{%- endif -%}
"""


def _system(how: Behaviour) -> str:
    return "".join(
        [
            GIVEN,
            EFFORT if how.reasoning_effort else "",
            _tools(how) if how.calls != "none" else "",
            TOLD,
        ]
    )


GIVEN: Final = """\
{%- set told = namespace(parts=[]) -%}
{%- if messages and messages[0].role == 'system' -%}{%- set told.parts = [words(messages[0].content)] -%}{%- endif -%}
"""
EFFORT: Final = """\
{%- if reasoning_effort is defined and reasoning_effort -%}
{%- set told.parts = told.parts + ['Effort of reasoning: ' ~ reasoning_effort] -%}
{%- endif -%}
"""
TOLD: Final = """\
{%- if told.parts -%}{{- 'TURN_BEGINSsystem\\n' ~ told.parts | join('\\n\\n') ~ 'TURN_ENDS\\n' -}}{%- endif -%}
"""


def _tools(how: Behaviour) -> str:
    shape = (
        "<function=NAME>\\n<parameter=KEY>\\nVALUE\\n</parameter>\\n</function>"
        if how.calls == "xml_parameters"
        else '{"name": NAME, "arguments": OBJECT}'
    )
    example = f"{how.call_begins}\\n{shape}\\n{how.call_ends}"
    return TOOLS.replace("EXAMPLE", example)


TOOLS: Final = """\
{%- if tools is defined and tools -%}
{%- set listed = namespace(text='') -%}
{%- for tool in tools -%}{%- set listed.text = listed.text ~ (tool | tojson) ~ '\\n' -%}{%- endfor -%}
{%- set told.parts = told.parts + ['These functions can be called:\\n<tools>\\n' ~ listed.text ~ '</tools>'] -%}
{%- set told.parts = told.parts + ['A call is written so:\\nEXAMPLE'] -%}
{%- endif -%}
"""
TURNS: Final = """\
{%- for message in messages -%}
{%- if message.role == 'system' and loop.first -%}
"""


def _assistant(how: Behaviour) -> str:
    mark, unmark = ("{%- generation -%}", "{%- endgeneration -%}\n") if how.generation_marks else ("", "")
    thinks = how.thinking != "absent"
    body = [
        "{%- elif message.role == 'assistant' -%}\n{{- 'TURN_BEGINSassistant\\n' -}}\n",
        mark,
        "{%- set said = words(message.content) -%}\n",
        _past_thinking(how) if thinks else "",
        "{{- said -}}\n",
        _calls(how) if how.calls != "none" else "",
        "{{- 'TURN_ENDS' -}}\n",
        unmark,
        "{{- '\\n' -}}\n",
    ]
    return "".join(body)


def _past_thinking(how: Behaviour) -> str:
    shown = "{{- '<think>\\n' ~ (thought | trim) ~ '\\n</think>\\n\\n' -}}"
    if not how.keeps_past_thinking:
        shown = f"{{%- if loop.index0 > asked.at -%}}{shown}{{%- endif -%}}"
    return (
        "{%- set thought = message.reasoning_content if message.reasoning_content is string else '' -%}\n"
        "{%- if not thought and '</think>' in said -%}\n"
        "{%- set thought = said.split('</think>')[0].split('<think>')[-1] -%}\n"
        "{%- set said = (said.split('</think>')[1:] | join('</think>')).lstrip('\\n') -%}\n"
        f"{{%- endif -%}}\n{shown}\n"
    )


def _calls(how: Behaviour) -> str:
    one = XML_CALL if how.calls == "xml_parameters" else JSON_CALL
    return CALLS.replace("ONE_CALL\n", one).replace("CALL_BEGINS", how.call_begins).replace("CALL_ENDS", how.call_ends)


CALLS: Final = """\
{%- for made in message.tool_calls or [] -%}
{%- set call = made.function if made.function is defined else made -%}
{%- if said or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- 'CALL_BEGINS\\n' -}}
ONE_CALL
{{- '\\nCALL_ENDS' -}}
{%- endfor -%}
"""
XML_CALL: Final = """\
{{- '<function=' ~ call.name ~ '>\\n' -}}
{%- if call.arguments is not mapping -%}
{{- raise_exception('Arguments of a call are given as a mapping.') -}}
{%- endif -%}
{%- for key, value in call.arguments.items() -%}
{{- '<parameter=' ~ key ~ '>\\n' ~ (value if value is string else value | tojson) ~ '\\n</parameter>\\n' -}}
{%- endfor -%}
{{- '</function>' -}}
"""
JSON_CALL: Final = """\
{{- '{"name": ' ~ (call.name | tojson) ~ ', "arguments": ' -}}
{{- (call.arguments if call.arguments is string else call.arguments | tojson) ~ '}' -}}
"""
OTHER_TURNS: Final = """\
{%- elif message.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- 'TURN_BEGINSuser' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' ~ words(message.content) ~ '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- 'TURN_ENDS\\n' -}}{%- endif -%}
{%- else -%}
{{- 'TURN_BEGINS' ~ message.role ~ '\\n' ~ words(message.content) ~ 'TURN_ENDS\\n' -}}
{%- endif -%}
{%- endfor -%}
"""


def _prompt(how: Behaviour) -> str:
    opened, skipped = "{{- '<think>\\n' -}}", "{{- '<think>\\n\\n</think>\\n\\n' -}}"
    thinking = {
        "absent": "",
        "always": f"{opened}\n",
        "on": f"{{%- if enable_thinking is defined and enable_thinking is false -%}}\n{skipped}\n"
        f"{{%- else -%}}\n{opened}\n{{%- endif -%}}\n",
        "off": f"{{%- if enable_thinking is defined and enable_thinking is true -%}}\n{opened}\n"
        f"{{%- else -%}}\n{skipped}\n{{%- endif -%}}\n",
    }
    begins = "{%- if add_generation_prompt -%}\n{{- 'TURN_BEGINSassistant\\n' -}}\n"
    return f"{begins}{thinking[how.thinking]}{{%- endif -%}}\n"
