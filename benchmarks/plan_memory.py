"""The memory plan beside what a GPU really holds: a few training steps on random weights of a published shape.

    python benchmarks/plan_memory.py [--model REPO ...] [--set FIELD=VALUE ...] [--steps N] [--json FILE] [--docs]

For every model a base of its shape is made on the device with random weights, quantised by bitsandbytes matrix by
matrix, given an adapter where the plan says, and trained for a few steps on random tokens. Three figures are compared:
the plan without its overhead with the most that torch had allocated, the whole plan with the most that the process
took from the card, and the terms that can be read off one by one. Nothing here passes or fails; without a CUDA device
nothing is measured, and the exit code is 5. `--docs` puts the table into docs/plan.md.

No GPU has run this yet: until one has, docs/plan.md says so, and the overhead is a constant nobody has checked.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "generated")]

MODELS = ("Qwen/Qwen3.5-0.8B", "Qwen/Qwen3.5-4B", "Qwen/Qwen3.5-9B")
SETTINGS: tuple[tuple[str, ...], ...] = (
    (),
    ("double_quant=false",),
    ("seq_len=4096",),
    ("seq_len=4096", "gradient_checkpointing=false", "batch_size=1"),
)
PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NO_DEVICE = 5
DEVICE = "cuda"
GIB = 1 << 30


class Row(NamedTuple):
    """One comparison, in bytes."""

    model: str
    settings: str
    device: str
    planned_allocated: int
    allocated: int
    planned_total: int
    taken: int
    planned_static: int
    static: int

    def cells(self) -> tuple[str, ...]:
        error = 100 * (self.planned_total / self.taken - 1)
        return (
            self.model,
            self.settings or "preset 4080",
            self.device,
            f"{self.planned_static / GIB:.2f} / {self.static / GIB:.2f}",
            f"{self.planned_allocated / GIB:.2f} / {self.allocated / GIB:.2f}",
            f"{self.planned_total / GIB:.2f} / {self.taken / GIB:.2f}",
            f"{error:+.1f} %",
        )


HEADINGS = ("model", "settings", "device", "at rest", "allocated", "taken from the card", "error of the plan")


def measure(repo: str, settings: Sequence[str], steps: int) -> Row:
    """Train a few steps and compare; figures are of one device."""
    import torch

    from mens.plan.activations import Situation
    from mens.plan.graph import graph_of
    from mens.plan.memory import plan_memory
    from mens.plan.resolve import parse_settings, resolve
    from mens.plan.targets import targets

    family, config = released(repo)
    preset = resolve("4080", None, parse_settings(settings)).preset
    graph = graph_of(family, config)
    found = targets(graph, preset)
    fused = all(find_spec(name) is not None for name in ("fla", "causal_conv1d"))
    plan = plan_memory(graph, found, preset, Situation("cuda", 1, fused))

    clear()
    free_before = torch.cuda.mem_get_info()[0]
    base, model = adapted(family, config, graph, preset)
    clear()
    torch.cuda.reset_peak_memory_stats()
    at_rest = torch.cuda.memory_allocated()
    train(base, model, preset, steps)
    torch.cuda.synchronize()
    allocated, taken = torch.cuda.max_memory_allocated(), free_before - torch.cuda.mem_get_info()[0]
    frozen = ("nf4_weights", "quantisation_constants", "remainder", "lora_weights")
    return Row(
        model=repo,
        settings=" ".join(settings),
        device=torch.cuda.get_device_name(),
        planned_allocated=plan.total - plan.components["overhead"],
        allocated=allocated,
        planned_total=plan.total,
        taken=taken + context_bytes(free_before),
        planned_static=sum(plan.components[name] for name in frozen),
        static=at_rest,
    )


def context_bytes(free_before: int) -> int:
    """What the process had taken before anything was put on the device: context and libraries, on an idle card."""
    import torch

    return max(torch.cuda.mem_get_info()[1] - free_before, 0)


def clear() -> None:
    """Give back what nobody holds."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.synchronize()


def released(repo: str) -> tuple[Any, Any]:
    """Family and configuration of a published model."""
    from mens_contracts.families import FAMILIES
    from mens_contracts.releases import RELEASES

    from mens.checkpoint.keys.releases import configured_models

    for release in RELEASES.values():
        for model, config in configured_models(release):
            if model.repo == repo and model.family is not None:
                return FAMILIES[model.family], config
    raise SystemExit(f"no release file gives the shape of {repo}")


def adapted(family: Any, config: Any, graph: Any, preset: Any) -> tuple[Any, Any]:
    """The trained class with random weights, quantised, and the same with an adapter."""
    import bitsandbytes
    import peft
    import torch
    import transformers

    from mens.checkpoint.keys.keymap import expand
    from mens.plan.graph import trained_class
    from mens.plan.targets import roles, targets

    memory = trained_class(family)
    section = config.get("text_config", config) if memory.config_section == "text" else config
    dtype = torch.bfloat16 if preset.compute_dtype == "bf16" else torch.float32
    parsed = transformers.AutoConfig.for_model(**copy.deepcopy(section))
    with torch.device(DEVICE):
        base = transformers.AutoModelForCausalLM.from_config(parsed, dtype=dtype, attn_implementation="sdpa")
    base.requires_grad_(False)
    names = []
    wanted = {role for _, role in roles(targets(graph, preset))}
    for spec in expand(family, config, memory.selection):
        name = spec.key.removesuffix(".weight")
        if spec.role in wanted and spec.layer is not None:
            names.append(f"held.{name}")
        module = base.get_submodule(name) if spec.nf4 and not spec.entry.routed else None
        if preset.base_quant == "nf4" and isinstance(module, torch.nn.Linear):
            small = bitsandbytes.nn.Linear4bit(
                module.in_features,
                module.out_features,
                bias=False,
                compute_dtype=dtype,
                compress_statistics=preset.double_quant,
                quant_type="nf4",
                device="meta",
            )
            weight = bitsandbytes.nn.Params4bit(
                module.weight.data.cpu(),
                requires_grad=False,
                quant_type="nf4",
                compress_statistics=preset.double_quant,
                module=small,
            )
            small.weight = weight.to(DEVICE)
            small.bias = module.bias
            base.set_submodule(name, small)
    held = torch.nn.Module()
    held.held = base
    held.is_loaded_in_4bit = preset.base_quant == "nf4"
    lora = peft.LoraConfig(r=preset.rank, lora_alpha=preset.alpha, lora_dropout=preset.dropout, target_modules=names)
    return base, peft.get_peft_model(held, lora)


def train(base: Any, model: Any, preset: Any, steps: int) -> None:
    """Train on random tokens, a chunk of logits at a time."""
    import torch

    if preset.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = make_optimizer(model, preset)
    head = base.get_output_embeddings().weight
    last = min(preset.seq_len, preset.ce_last_k or preset.seq_len)
    for _ in range(steps):
        ids = torch.randint(0, head.shape[0] - 1, (preset.batch_size, preset.seq_len), device=DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=preset.compute_dtype == "bf16"):
            hidden = base.base_model(input_ids=ids, use_cache=False).last_hidden_state
            rows = hidden[:, -last:].reshape(-1, hidden.shape[-1])
            gradient = rows_gradient(rows.detach(), head, ids[:, -last:].reshape(-1), preset.loss_chunk_size)
        rows.backward(gradient)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


def rows_gradient(rows: Any, head: Any, labels: Any, chunk: int) -> Any:
    """The gradient of the mean cross-entropy over rows, whose logits exist a chunk at a time."""
    import torch

    gradient = torch.empty_like(rows)
    size = chunk or len(rows)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        logits = rows[part] @ head.t()
        wanted = torch.log_softmax(logits.float(), -1).exp_()
        del logits
        wanted.scatter_add_(1, labels[part, None], torch.full((len(wanted), 1), -1.0, device=rows.device))
        gradient[part] = (wanted.to(rows.dtype) @ head) / len(rows)
    return gradient


def make_optimizer(model: Any, preset: Any) -> Any:
    """The optimizer that a preset names."""
    import bitsandbytes
    import torch

    kinds = {
        "adamw": torch.optim.AdamW,
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw": bitsandbytes.optim.PagedAdamW32bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    return kinds[preset.optimizer]([parameter for parameter in model.parameters() if parameter.requires_grad])


def table(rows: Sequence[Row]) -> str:
    """The comparison as a table of Markdown; each pair is plan / measured, in GiB."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written_into(page: str, rows: Sequence[Row]) -> str:
    """The page with the table in its place, and what it was measured with."""
    stack = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "bitsandbytes"))
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return (
        f"{before}{BEGIN}\n{table(rows)}\n\nEach pair is plan / measured, in GiB. Measured with {stack}.\n{END}{after}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a published model whose shape is trained; may be repeated")
    parser.add_argument("--set", dest="settings", action="append", help="a setting, as `mens plan` takes it")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/plan.md")
    chosen = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("No CUDA device is here: nothing was measured.", file=sys.stderr)
        return NO_DEVICE
    every = [tuple(chosen.settings)] if chosen.settings else SETTINGS
    rows = []
    for repo in chosen.model or MODELS:
        for settings in every:
            rows.append(measure(repo, settings, chosen.steps))
            print(" | ".join(rows[-1].cells()), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n", encoding="utf-8")
    if chosen.docs:
        PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
