"""Every named rule, seen to hold and seen to refuse: a valid fixture with a few fields changed, and what is said."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from mens.contracts import door
from mens.contracts.claims import Claims
from mens.contracts.codes import CODES
from mens.contracts.kinds import KINDS, named
from mens.contracts.positions import decode, unescape
from mens.contracts.rules import MODULES, RULES
from mens.contracts.source import Source
from mens.contracts.strict_json import parse_json
from mens.contracts.strict_yaml import parse_yaml

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kinds"
DELETE = object()


class Copy(str):
    """The value that another place of the document has."""


Said = tuple[tuple[str, str, str], ...]
Case = tuple[str, str, dict[str, Any], Said]

CASES: tuple[Case, ...] = (
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/max_steps": 80},
        (("MENS-R001", "/warmup_steps", "the warm-up of 80 steps is not shorter than training, 80"),),
    ),
    ("training-preset/v1", "minimal.yaml", {"/max_steps": 81}, ()),
    ("training-preset/v1", "minimal.yaml", {"/warmup_steps": 0, "/max_steps": 1}, ()),
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/ce_last_k": 513},
        (("MENS-R002", "/ce_last_k", "ce_last_k 513 reaches beyond the sequence, 512"),),
    ),
    ("training-preset/v1", "minimal.yaml", {"/ce_last_k": 512}, ()),
    ("training-preset/v1", "minimal.yaml", {"/seq_len": 63}, ()),
    ("training-preset/v1", "minimal.yaml", {"/deployment_target": "mobile_edge"}, ()),
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/deployment_target": "mobile_edge", "/seq_len": 513, "/rank": 33, "/batch_size": 2},
        (
            ("MENS-R003", "/seq_len", "deployment_target mobile_edge allows seq_len up to 512, not 513"),
            ("MENS-R003", "/rank", "deployment_target mobile_edge allows rank up to 32, not 33"),
            ("MENS-R003", "/batch_size", "deployment_target mobile_edge allows batch_size up to 1, not 2"),
        ),
    ),
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/method": "lora"},
        (("MENS-R006", "/method", "method lora does not go with base_quant nf4"),),
    ),
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/base_quant": "none"},
        (("MENS-R006", "/base_quant", "method qlora does not go with base_quant none"),),
    ),
    ("training-preset/v1", "minimal.yaml", {"/method": "lora", "/base_quant": "none"}, ()),
    (
        "training-preset/v1",
        "minimal.yaml",
        {"/aliases": ["a", "b", "a"], "/targets": ["qv", "mlp", "qv"]},
        (("MENS-R010", "/aliases/2", "'a' is listed twice"), ("MENS-R010", "/targets/2", "'qv' is listed twice")),
    ),
    (
        "lane/v1",
        "smallest.yaml",
        {"/response_modes": ["mixed", "mixed"]},
        (("MENS-R010", "/response_modes/1", "'mixed' is listed twice"),),
    ),
    (
        "hf-config/v1",
        "gpt2.json",
        {"/auto_map": {"AutoModel": "modeling.Net"}},
        (
            (
                "MENS-R008",
                "/auto_map",
                "'auto_map' makes a loader run code that came with the checkpoint; mens never does",
            ),
        ),
    ),
    ("hf-config/v1", "gpt2.json", {"/auto_map": {}, "/trust_remote_code": False}, ()),
    (
        "hf-config/v1",
        "gpt2.json",
        {"/extra": [{"custom_generate": "here"}]},
        (
            (
                "MENS-R008",
                "/extra/0/custom_generate",
                "'custom_generate' makes a loader run code that came with the checkpoint; mens never does",
            ),
        ),
    ),
    (
        "peft-adapter-config/v1",
        "minimal.json",
        {"/new_magic": True},
        (
            (
                "MENS-R007",
                "/new_magic",
                "'new_magic' is a field that mens does not know; with a value it may change what the adapter does",
            ),
        ),
    ),
    ("peft-adapter-config/v1", "minimal.json", {"/new_magic": None}, ()),
    (
        "training-row/v1",
        "prompt-response.json",
        {"/response": DELETE},
        (
            (
                "MENS-R009",
                "",
                "a row is prompt|instruction with response|output, or messages|turns, or text; this has `prompt`",
            ),
        ),
    ),
    (
        "training-row/v1",
        "prompt-response.json",
        {"/instruction": "Again."},
        (
            (
                "MENS-R009",
                "",
                "a row is prompt|instruction with response|output, or messages|turns, or text; this has `prompt`, `instruction`, `response`",
            ),
        ),
    ),
    (
        "training-row/v1",
        "prompt-response.json",
        {"/text": "Raw."},
        (
            (
                "MENS-R009",
                "",
                "a row is prompt|instruction with response|output, or messages|turns, or text; this has `prompt`, `response`, `text`",
            ),
            ("MENS-R020", "/syntax_spans", "`syntax_spans` is not read beside `text`"),
        ),
    ),
    (
        "training-row/v1",
        "prompt-response.json",
        {"/prompt": DELETE, "/response": DELETE, "/syntax_spans": []},
        (
            (
                "MENS-R009",
                "",
                "a row is prompt|instruction with response|output, or messages|turns, or text; this has none of them",
            ),
        ),
    ),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/thinking": "Hm."},
        (("MENS-R020", "/thinking", "`thinking` is not read beside `messages`; each turn carries its own"),),
    ),
    (
        "training-row/v1",
        "raw-text.json",
        {"/system": "Be brief.", "/tools": [{"name": "read"}], "/thinking": "Hm."},
        (
            ("MENS-R020", "/thinking", "`thinking` is not read beside `text`"),
            ("MENS-R020", "/system", "`system` is not read beside `text`"),
            ("MENS-R020", "/tools", "`tools` is not read beside `text`"),
        ),
    ),
    ("training-row/v1", "raw-text.json", {"/system": None, "/tools": []}, ()),
    (
        "training-row/v1",
        "tool-call.json",
        {"/system": "Be brief."},
        (("MENS-R021", "/messages/0/role", "a second or later system message: `system` gives one already"),),
    ),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/4/role": "system"},
        (("MENS-R021", "/messages/4/role", "a second or later system message: it stands before all turns"),),
    ),
    ("training-row/v1", "thinking-turns.json", {"/system": "Be brief."}, ()),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/messages/3": DELETE, "/messages/1": DELETE},
        (("MENS-R022", "/messages", "no turn of `messages` is the assistant's; nothing is learnt"),),
    ),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/messages/0/content": None},
        (("MENS-R023", "/messages/0", "the user turn has no content"),),
    ),
    ("training-row/v1", "thinking-turns.json", {"/messages/3/content": None}, ()),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/messages/3/content": None, "/messages/3/thinking": DELETE},
        (("MENS-R023", "/messages/3", "the assistant turn has neither content nor tool calls nor thinking"),),
    ),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/messages/1/thinking": "Hm."},
        (
            (
                "MENS-R024",
                "/messages/1/reasoning_content",
                "`thinking` and `reasoning_content` are two names for one thing; the turn has both",
            ),
        ),
    ),
    (
        "training-row/v1",
        "thinking-turns.json",
        {
            "/messages/0/thinking": "Hm.",
            "/messages/2/tool_calls": [{"name": "read", "arguments": {}}],
            "/messages/3/tool_call_id": "call_1",
        },
        (
            ("MENS-R025", "/messages/0/thinking", "`thinking` belongs to an assistant turn, not to user"),
            ("MENS-R025", "/messages/2/tool_calls", "`tool_calls` belongs to an assistant turn, not to user"),
            ("MENS-R025", "/messages/3/tool_call_id", "`tool_call_id` belongs to a tool turn, not to assistant"),
        ),
    ),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/3/tool_call_id": "call_2"},
        (("MENS-R026", "/messages/3/tool_call_id", "'call_2' is the id of no earlier tool call"),),
    ),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/2/tool_calls/0/id": None},
        (("MENS-R026", "/messages/3/tool_call_id", "'call_1' is the id of no earlier tool call"),),
    ),
    ("training-row/v1", "tool-call.json", {"/messages/3/tool_call_id": None}, ()),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/2/tool_calls/0/name": "read_file"},
        (
            (
                "MENS-R027",
                "/messages/2/tool_calls/0",
                "a call is `function`, or `name` with `arguments`; this has `function`, `name`",
            ),
        ),
    ),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/2/tool_calls/0/function": None},
        (
            (
                "MENS-R027",
                "/messages/2/tool_calls/0",
                "a call is `function`, or `name` with `arguments`; this has none of them",
            ),
        ),
    ),
    (
        "training-row/v1",
        "flat-tool-call.json",
        {"/turns/1/tool_calls/0/arguments": DELETE},
        (("MENS-R027", "/turns/1/tool_calls/0", "a call is `function`, or `name` with `arguments`; this has `name`"),),
    ),
    (
        "training-row/v1",
        "flat-tool-call.json",
        {"/turns/1/tool_calls/0/arguments": '{"path": }'},
        (
            (
                "MENS-R028",
                "/turns/1/tool_calls/0/arguments",
                "the arguments are not the JSON text of an object: 1:10: expected a value, found '}'",
            ),
        ),
    ),
    (
        "training-row/v1",
        "tool-call.json",
        {"/messages/2/tool_calls/0/function/arguments": "[1]"},
        (
            (
                "MENS-R028",
                "/messages/2/tool_calls/0/function/arguments",
                "the arguments are not the JSON text of an object: a list of 1 is none",
            ),
        ),
    ),
    (
        "training-row/v1",
        "prompt-response.json",
        {"/syntax_spans": [{"start": 3, "end": 3}, {"start": 44, "end": 45}, {"start": 44, "end": 46}]},
        (
            (
                "MENS-R029",
                "/syntax_spans/0/end",
                "the span from 3 to 3 is empty; `end` is the character after its last",
            ),
            ("MENS-R029", "/syntax_spans/1/end", "the span ends at 45, beyond the answer's 44 characters"),
            ("MENS-R029", "/syntax_spans/2/end", "the span ends at 46, beyond the answer's 44 characters"),
        ),
    ),
    (
        "training-row/v1",
        "thinking-turns.json",
        {"/syntax_spans": [{"start": 0, "end": 4}, {"start": 0, "end": 5}]},
        (("MENS-R029", "/syntax_spans/1/end", "the span ends at 5, beyond the answer's 4 characters"),),
    ),
    (
        "training-row/v1",
        "raw-text.json",
        {"/syntax_spans": [{"start": 0, "end": 4}]},
        (("MENS-R020", "/syntax_spans", "`syntax_spans` is not read beside `text`"),),
    ),
    (
        "corpus-mix/v1",
        "code-lanes.yaml",
        {"/exclude_lanes": ["vox_chat", "vox_codegen"]},
        (("MENS-R035", "/exclude_lanes/1", "'vox_codegen' is included and excluded"),),
    ),
    (
        "corpus-mix/v1",
        "code-lanes.yaml",
        {"/include_lanes": ["vox_codegen", "vox_codegen"]},
        (("MENS-R010", "/include_lanes/1", "'vox_codegen' is listed twice"),),
    ),
    (
        "corpus-mix/v1",
        "code-lanes.yaml",
        {"/output": "corpora/./codegen.jsonl"},
        (("MENS-R036", "/output", "'corpora/./codegen.jsonl' is a source as well"),),
    ),
    (
        "corpus-mix/v1",
        "code-lanes.yaml",
        {"/validation": {"output": "build/code.jsonl.gz"}, "/contamination": {"files": ["build/code.jsonl.gz"]}},
        (
            ("MENS-R036", "/output", "'build/code.jsonl.gz' is a held-out file as well"),
            ("MENS-R036", "/validation/output", "'build/code.jsonl.gz' is the mix's output as well"),
        ),
    ),
    (
        "corpus-mix/v1",
        "smallest.yaml",
        {"/sources/0/weight": 0},
        (("MENS-R037", "/sources", "every source has weight 0, so no row is taken"),),
    ),
    (
        "eval-policy/v1",
        "training.yaml",
        {"/gates/1/name": "supervised_ratio"},
        (("MENS-R010", "/gates/1/name", "'supervised_ratio' is listed twice"),),
    ),
    (
        "eval-policy/v1",
        "training.yaml",
        {"/gates/2/skip_reason": None},
        (("MENS-R030", "/gates/2", "`when_missing: skip` needs a `skip_reason`"),),
    ),
    (
        "eval-policy/v1",
        "training.yaml",
        {"/gates/2/when_missing": "fail"},
        (("MENS-R030", "/gates/2/skip_reason", "a `skip_reason` goes with `when_missing: skip` only"),),
    ),
    (
        "gate-receipt/v1",
        "failed.yaml",
        {"/overall_passed": True},
        (("MENS-R031", "/overall_passed", "overall_passed is true, but pass_at_1 failed and blocks"),),
    ),
    (
        "gate-receipt/v1",
        "passed.json",
        {"/overall_passed": False},
        (("MENS-R031", "/overall_passed", "overall_passed is false, but no blocking gate failed"),),
    ),
    (
        "gate-receipt/v1",
        "passed.json",
        {"/gates/1/name": "parse_rate"},
        (("MENS-R010", "/gates/1/name", "'parse_rate' is listed twice"),),
    ),
    (
        "gate-receipt/v1",
        "skipped.yaml",
        {"/gates/1/passed": True, "/gates/1/measured": 0.2},
        (
            ("MENS-R032", "/gates/1/passed", "a skipped gate has not passed"),
            ("MENS-R032", "/gates/1/measured", "a skipped gate has measured nothing"),
        ),
    ),
    (
        "gate-receipt/v1",
        "failed.yaml",
        {"/gates/0/measured": 0.25},
        (("MENS-R033", "/gates/0/passed", "passed is false, but 0.25 is measured where at_least 0.25 is asked"),),
    ),
    (
        "gate-receipt/v1",
        "failed.yaml",
        {"/gates/0/passed": True, "/overall_passed": True},
        (("MENS-R033", "/gates/0/passed", "passed is true, but 0.19 is measured where at_least 0.25 is asked"),),
    ),
    (
        "gate-receipt/v1",
        "missing-input.yaml",
        {"/gates/0/passed": True, "/overall_passed": True},
        (("MENS-R033", "/gates/0/passed", "passed is true, but nothing was measured where at_least 0.1 is asked"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/memory/total_bytes": 21200000001},
        (
            ("MENS-R011", "/memory/total_bytes", "the components add up to 21,200,000,000, not 21,200,000,001"),
            ("MENS-R011", "/memory/total_bytes", "the devices add up to 21,200,000,000, not 21,200,000,001"),
        ),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/devices/1/components/weights": 9000000001},
        (("MENS-R011", "/devices/1/total_bytes", "the components add up to 10,700,000,001, not 10,700,000,000"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/trainable_parameters": 4915201},
        (("MENS-R011", "/trainable_parameters", "the targets add up to 4,915,200, not 4,915,201"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/devices/1/device": "cuda:0"},
        (("MENS-R010", "/devices/1/device", "'cuda:0' is listed twice"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/devices/0/available_bytes": 10499999999},
        (("MENS-R040", "/fits", "fits is true, but cuda:0 needs more than is available"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/fits": False},
        (("MENS-R040", "/fits", "fits is false, but nothing needs more than is available"),),
    ),
    (
        "plan/v1",
        "two-devices.json",
        {"/nearest": [{"changes": {"rank": 4}, "total_bytes": 1}]},
        (("MENS-R040", "/nearest", "a plan that fits needs no nearest settings that would"),),
    ),
    (
        "plan/v1",
        "fits.json",
        {"/origins/rnk": "flag"},
        (("MENS-R041", "/origins/rnk", "'rnk' is not a field of `configuration`. Did you mean 'rank'?"),),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/parameters/total": 596049921},
        (("MENS-R011", "/parameters/total", "text, vision and mtp add up to 596,049,920, not 596,049,921"),),
    ),
    ("inspection/v1", "dense-tied.json", {"/parameters/total": 596049921, "/coverage/unknown": ["model.extra"]}, ()),
    (
        "inspection/v1",
        "mixture-of-experts.yaml",
        {"/parameters/active": 90000000000},
        (("MENS-R012", "/parameters/active", "the active parameters exceed `text`: 90,000,000,000 of 30,532,122,624"),),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/layout/vision": True},
        (("MENS-R042", "/parameters/vision", "0 parameters, but the layout says vision is there"),),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/parameters/mtp": 1, "/parameters/total": 596049921},
        (("MENS-R042", "/parameters/mtp", "1 parameters, but the layout says mtp is absent"),),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/parameters/active": 1},
        (
            (
                "MENS-R042",
                "/parameters/active",
                "without routed experts every parameter of `text` is active, 596,049,920",
            ),
        ),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/licence/evidence": ["model_crad"]},
        (("MENS-R014", "/licence/evidence/0", "'model_crad' is no entry of evidence. Did you mean 'model_card'?"),),
    ),
    (
        "inspection/v1",
        "dense-tied.json",
        {"/licence/evidence": []},
        (("MENS-R014", "/licence/expression", "a licence without evidence is NOASSERTION"),),
    ),
    ("inspection/v1", "dense-tied.json", {"/licence": {"expression": "NOASSERTION"}}, ()),
    (
        "kind-registry/v1",
        "one.yaml",
        {"/kinds/-": Copy("/kinds/0")},
        (("MENS-R010", "/kinds/1/kind", "'findings/v1' is listed twice"),),
    ),
    (
        "schema-waivers/v1",
        "one.yaml",
        {"/waivers/-": Copy("/waivers/0")},
        (
            (
                "MENS-R010",
                "/waivers/1/rule",
                "'training-preset/v1 MAXIMUM_LOWERED /properties/rank/maximum' is listed twice",
            ),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/finished": None, "/result": None},
        (
            ("MENS-R060", "/finished", "`finished` is missing, but the state of the run is completed"),
            ("MENS-R060", "/result", "`result` is missing, but the state of the run is completed"),
        ),
    ),
    (
        "training-manifest/v1",
        "prepared.json",
        {"/finished": "2026-11-21T03:16:00Z", "/result": {"seconds": 1}},
        (
            ("MENS-R060", "/finished", "`finished` is given, but the state of the run is prepared"),
            ("MENS-R060", "/result", "`result` is given, but the state of the run is prepared"),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/result/failure": "MENS-T001"},
        (("MENS-R060", "/result/failure", "`failure` is given, but the state of the run is completed"),),
    ),
    (
        "training-manifest/v1",
        "failed_nan.yaml",
        {"/result/failure": None},
        (("MENS-R060", "/result/failure", "`failure` is missing, but the state of the run is failed"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/architecture/num_layers": 31},
        (("MENS-R011", "/architecture/num_layers", "layer_counts add up to 32, not 31"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/data/0/num_rows_used": 7474},
        (("MENS-R012", "/data/0/num_rows_used", "more rows are used than there are: 7,474 of 7,473"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/data/0/lanes/vox_codegen": 5001},
        (("MENS-R012", "/data/0/lanes", "the lanes have more rows than are used: 7,100 of 7,099"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/progress/num_supervised_tokens": 9007199254740991, "/progress/num_optimizer_steps": 9007199254740991},
        (
            (
                "MENS-R012",
                "/progress/num_optimizer_steps",
                "more optimizer steps than batches: 9,007,199,254,740,991 of 21,297",
            ),
            (
                "MENS-R012",
                "/progress/num_supervised_tokens",
                "more tokens carried loss than went through: 9,007,199,254,740,991 of 4,051,233",
            ),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/created": "2026-11-21T03:16:00.5Z", "/finished": "2026-11-21T03:16:00Z"},
        (
            (
                "MENS-R013",
                "/finished",
                "the run ends before it begins: 2026-11-21T03:16:00Z is before 2026-11-21T03:16:00.5Z",
            ),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/created": "2026-11-21T03:16:00Z", "/finished": "2026-11-21T03:16:00.5Z"},
        (),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/outputs/-": Copy("/outputs/0")},
        (("MENS-R010", "/outputs/2/path", "'adapter_model.safetensors' is listed twice"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/receipts/coverage/rows/0/num_attached": 9},
        (
            ("MENS-R011", "/receipts/coverage/num_attached", "the rows add up to 249, not 248"),
            ("MENS-R012", "/receipts/coverage/rows/0/num_attached", "more is attached than was expected: 9 of 8"),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/receipts/quantisation/total_bytes": 1},
        (("MENS-R011", "/receipts/quantisation/total_bytes", "the classes add up to 3,113,851,904, not 1"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/receipts/quantisation/base_quant": "none"},
        (("MENS-R015", "/receipts/quantisation/base_quant", "base_quant is none, but some class is stored as NF4"),),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/receipts/masks/num_tokens": 1, "/receipts/masks/num_rows": 0, "/receipts/masks/num_truncated_rows": 1},
        (
            (
                "MENS-R012",
                "/receipts/masks/num_supervised_tokens",
                "more tokens are supervised than there are: 610,034 of 1",
            ),
            ("MENS-R012", "/receipts/masks/num_truncated_rows", "more rows are truncated than there are: 1 of 0"),
        ),
    ),
    (
        "training-manifest/v1",
        "completed_qlora.json",
        {"/receipts/masks/roles": {"assistant": 1}},
        (("MENS-R011", "/receipts/masks/num_supervised_tokens", "the roles add up to 1, not 610,034"),),
    ),
    (
        "checkpoint-state/v1",
        "best_with_validation.json",
        {"/num_optimizer_steps": 2665, "/num_supervised_tokens": 760113},
        (
            ("MENS-R012", "/num_supervised_tokens", "more tokens carried loss than went through: 760,113 of 760,112"),
            ("MENS-R012", "/num_optimizer_steps", "more optimizer steps than planned: 2,665 of 2,664"),
        ),
    ),
    (
        "checkpoint-state/v1",
        "best_with_validation.json",
        {"/num_batches": 499},
        (("MENS-R012", "/num_optimizer_steps", "more optimizer steps than batches: 500 of 499"),),
    ),
    (
        "checkpoint-state/v1",
        "best_with_validation.json",
        {"/sampler/position": 7100, "/validation/best_optimizer_step": 501},
        (
            ("MENS-R012", "/sampler/position", "the sampler stands beyond the epoch: 7,100 of 7,099"),
            ("MENS-R012", "/validation/best_optimizer_step", "the best step is still to come: 501 of 500"),
        ),
    ),
    (
        "checkpoint-state/v1",
        "best_with_validation.json",
        {"/contents/scheduler": "scheduler.json", "/contents/rng_torch/0": "rng.safetensors"},
        (
            ("MENS-R061", "/contents/rng_torch/0", "'rng.safetensors' is not listed in `files`"),
            ("MENS-R061", "/contents/scheduler", "'scheduler.json' is not listed in `files`"),
        ),
    ),
    (
        "checkpoint-state/v1",
        "eight_processes.yaml",
        {"/world_size": 7},
        (("MENS-R062", "/contents/rng_torch", "8 generator states for 7 processes"),),
    ),
    (
        "checkpoint-state/v1",
        "best_with_validation.json",
        {"/files/-": Copy("/files/0")},
        (("MENS-R010", "/files/5/path", "'adapter_model.safetensors' is listed twice"),),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/num_merged": 2, "/verification/streaming/num_tensors": 2},
        (("MENS-R011", "/num_merged", "the merged entries of the ledger add up to 1, not 2"),),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/ledger/1/key": "model.layers.0.mlp.up_proj.weight"},
        (("MENS-R010", "/ledger/1/key", "'model.layers.0.mlp.up_proj.weight' is listed twice"),),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/ledger/1/file": "other.safetensors"},
        (("MENS-R070", "/ledger/1/file", "'other.safetensors' is not listed in `files`"),),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/ledger/0/pairs/1/adapter": 2},
        (
            ("MENS-R071", "/ledger/0/pairs/1/adapter", "2 adapters were merged, counted from 0"),
            ("MENS-R071", "/adapters/1/num_pairs", "1 pairs, of which 0 stand in the ledger"),
        ),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/adapters/0/num_pairs": 2},
        (("MENS-R071", "/adapters/0/num_pairs", "2 pairs, of which 1 stand in the ledger"),),
    ),
    (
        "merge-manifest/v1",
        "minimal.json",
        {"/accepted_unknown_base": False},
        (("MENS-R072", "/base/state", "the base is unknown and `accepted_unknown_base` is not true"),),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/verification/streaming/num_tensors": 3, "/verification/streaming/num_changed_values": 8193},
        (
            ("MENS-R073", "/verification/streaming/num_tensors", "3 tensors were sampled of 1 that were merged"),
            (
                "MENS-R012",
                "/verification/streaming/num_changed_values",
                "more changed than was sampled: 8,193 of 8,192",
            ),
        ),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {
            "/verification/probes": {
                "status": "passed",
                "num_probes": 1,
                "max_abs_difference": 0.2,
                "tolerance": 0.1,
                "mean_kl": 0,
                "top1_agreement": 1,
                "difference_from_base": 0,
                "dtype": "float32",
            }
        },
        (
            ("MENS-R073", "/verification/probes/max_abs_difference", "the difference 0.2 is above the tolerance 0.1"),
            ("MENS-R073", "/verification/probes/difference_from_base", "the merge changed nothing"),
        ),
    ),
    (
        "merge-manifest/v1",
        "two_adapters_nf4.yaml",
        {"/files/-": Copy("/files/0")},
        (("MENS-R010", "/files/2/path", "'model.safetensors' is listed twice"),),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/layer_order/-": "l3.k"},
        (("MENS-R080", "/layer_order/2", "'l3.k' has no entry in `base_key_map`. Did you mean 'l3.v'?"),),
    ),
    (
        "adapter-meta/v2",
        "bounded_proxy_tied.json",
        {"/layer_order/0": "missing"},
        (
            ("MENS-R080", "/layer_order/0", "'missing' has no entry in `base_key_map`."),
            ("MENS-R081", "/base_key_map/mid0", "'mid0' is not in `layer_order`. Did you mean 'mid3'?"),
        ),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/layer_order/1": DELETE},
        (("MENS-R081", "/base_key_map/l3.v", "'l3.v' is not in `layer_order`. Did you mean 'l3.q'?"),),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/layer_order/-": "l3.q"},
        (("MENS-R010", "/layer_order/2", "'l3.q' is listed twice"),),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/targets/-": Copy("/targets/0")},
        (("MENS-R010", "/targets/2/module", "'model.language_model.layers.3.self_attn.q_proj' is listed twice"),),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/targets/0/module": "l3.q", "/targets/0/base_key": "lm_head.weight"},
        (
            (
                "MENS-R082",
                "/targets/0/base_key",
                "'l3.q' is 'model.language_model.layers.3.self_attn.q_proj.weight' in `base_key_map`, not 'lm_head.weight'",
            ),
        ),
    ),
    ("adapter-meta/v3", "trained_by_mens.json", {"/targets/0/scale": 8}, ()),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/targets/0/scale": 4},
        (("MENS-R083", "/targets/0/scale", "scale 4 is neither alpha / rank, 2, nor alpha / sqrt(rank), 8"),),
    ),
    (
        "adapter-meta/v3",
        "trained_by_mens.json",
        {"/quant/base_quant": "none"},
        (("MENS-R006", "/quant/base_quant", "method qlora does not go with base_quant none"),),
    ),
    (
        "provenance/v1",
        "trained_adapter.json",
        {"/base/licence/evidence": [], "/datasets/0/licence/evidence": ["licence"]},
        (
            ("MENS-R014", "/base/licence/expression", "a licence without evidence is NOASSERTION"),
            (
                "MENS-R014",
                "/datasets/0/licence/evidence/0",
                "'licence' is no entry of evidence. Did you mean 'licence_file'?",
            ),
        ),
    ),
    (
        "provenance/v1",
        "merged_with_terms.yaml",
        {"/obligations/0": DELETE},
        (
            (
                "MENS-R090",
                "/base/licence/obligations/0",
                "this display_name obligation is missing from the document's `obligations`",
            ),
        ),
    ),
    (
        "provenance/v1",
        "trained_adapter.json",
        {"/steps/0/started": "2026-11-21T02:10:12Z"},
        (
            (
                "MENS-R013",
                "/steps/0/finished",
                "the step ends before it begins: 2026-11-21T02:10:11Z is before 2026-11-21T02:10:12Z",
            ),
        ),
    ),
    (
        "provenance/v1",
        "trained_adapter.json",
        {"/compute/ratio": 0.5},
        (("MENS-R091", "/compute/ratio", "a ratio needs both amounts, and a base's above 0"),),
    ),
    (
        "provenance/v1",
        "trained_adapter.json",
        {"/compute/ratio": 0.5, "/compute/base_petaflop": 34.1},
        (("MENS-R091", "/compute/ratio", "0.5 is not 34.1 / 34.1, which is 1"),),
    ),
    ("provenance/v1", "trained_adapter.json", {"/compute/ratio": 0.341, "/compute/base_petaflop": 100}, ()),
    (
        "provenance/v1",
        "trained_adapter.json",
        {"/subject/files/-": Copy("/subject/files/0")},
        (("MENS-R010", "/subject/files/1/path", "'adapter_model.safetensors' is listed twice"),),
    ),
)


def _fixture(kind: str, file: str) -> Any:
    path = FIXTURES / kind.replace("/", ".") / "valid" / file
    text = decode(path.read_bytes())
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)[0]


def _at(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        document = document[int(token)] if isinstance(document, list) else document[token]
    return document


def changed(document: Any, edits: dict[str, Any]) -> Any:
    """The document with each place set, deleted, or (at `-`) appended."""
    for where, value in edits.items():
        *above, last = [unescape(token) for token in where.split("/")[1:]]
        holder = _at(document, above)
        new = deepcopy(_at(document, value.split("/")[1:])) if isinstance(value, Copy) else value
        if isinstance(holder, dict):
            holder[last] = new
        elif last == "-":
            holder.append(new)
        else:
            holder[int(last)] = new
        if new is DELETE:
            del holder[int(last) if isinstance(holder, list) else last]
    return document


def _id(case: Case) -> str:
    kind, file, edits, said = case
    verdict = said[0][0] if said else "holds"
    return f"{verdict} {kind} {Path(file).stem} {' '.join(edits)}"


@pytest.mark.parametrize(("kind", "file", "edits", "said"), CASES, ids=map(_id, CASES))
def test_rule(kind: str, file: str, edits: dict[str, Any], said: Said) -> None:
    model, problems = door.check(changed(_fixture(kind, file), edits), named(kind))
    assert model is not None, f"the schema refuses it already: {problems}"
    assert tuple((problem.code, problem.pointer, problem.message) for problem in problems) == said


def test_every_rule_is_seen_to_refuse() -> None:
    told_elsewhere = {"MENS-R004", "MENS-R005"}
    codes = {code for code in CODES if code.startswith("MENS-R")}
    assert {code for *_, said in CASES for code, _, _ in said} == codes - told_elsewhere
    assert len(codes) == 43


def test_every_rule_names_its_codes() -> None:
    rules = {rule for kind in RULES for rule in RULES[kind]}
    assert len(rules) >= 60
    for rule in rules:
        if rule.__name__ != "rule":  # made by a factory, which says it itself
            assert rule.__doc__ is not None
            codes = [word.strip(":,") for word in rule.__doc__.split() if word.startswith("MENS-")]
            assert codes
            assert all(code in CODES for code in codes), rule.__name__


def test_rules_are_for_kinds_that_exist() -> None:
    assert set(MODULES) <= {kind.name for kind in KINDS}
    assert all(RULES[kind] for kind in MODULES)
    assert "findings" not in RULES


PRESET = """\
schema: mens/training-preset/v1
id: {id}
title: A run
aliases: [{aliases}]
rank: 16
alpha: 32
seq_len: 512
batch_size: 1
grad_accum: 8
epochs: 3
warmup_steps: 80
learning_rate: 0.00015
"""


def _claimed(claims: Claims, name: str, id_: str, aliases: str = "") -> list[tuple[int, int, str, str, str]]:
    text = PRESET.format(id=id_, aliases=aliases)
    examined = door.examine(Source(name, text.encode(), "yaml"), claims=claims)
    return [(f.line, f.column, f.pointer, f.code, f.message) for f in examined.findings]


def test_an_alias_that_two_presets_claim() -> None:
    claims = Claims()
    assert _claimed(claims, "a.yaml", "day", "short") == []
    assert _claimed(claims, "b.yaml", "night", "long, short") == [
        (4, 17, "/aliases/1", "MENS-R004", "'short' is already claimed by day in a.yaml")
    ]
    assert _claimed(claims, "c.yaml", "long") == [
        (2, 5, "/id", "MENS-R004", "'long' is already claimed by night in b.yaml")
    ]


def test_a_name_that_mens_ships() -> None:
    ours = door.shipped_claims()
    assert _claimed(ours, "a.yaml", "mine", '"4080_safe"') == [
        (4, 11, "/aliases/0", "MENS-R004", "'4080_safe' is already claimed by safe, which mens ships")
    ]
    assert _claimed(door.shipped_claims(), "a.yaml", '"4080"', "default") == []
    assert _claimed(door.shipped_claims(), "a.yaml", "mine", "yours") == []


def test_a_field_at_the_wrong_level() -> None:
    meta = changed(_fixture("adapter-meta/v3", "original_minimal.json"), {"/base_quant": "nf4", "/quant": DELETE})
    _, problems = door.check(meta, named("adapter-meta/v3"))
    assert [(problem.code, problem.pointer, problem.message) for problem in problems] == [
        (
            "MENS-R005",
            "/base_quant",
            "`base_quant` stands at top level; it belongs under `quant`, as quant.base_quant",
        ),
        ("MENS-V002", "", "the required field 'quant' is missing from mens/adapter-meta/v3"),
    ]
