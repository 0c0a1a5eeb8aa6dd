"""What a real model on a CPU really holds: saved tensors, optimizer state, and the fullest moment of a step."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import torch
import torch.utils._pytree as pytree
import transformers
from mens_contracts.families import FAMILIES
from mens_contracts.family_v1 import FamilyV1
from torch.utils._python_dispatch import TorchDispatchMode

from mens.checkpoint.keys.keymap import TensorSpec, expand
from mens.contracts.json_types import JsonObject
from mens.plan.graph import Graph, graph_of, trained_class
from mens.plan.resolve import Resolved, resolve
from mens.plan.targets import chosen

WIDER = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 64,
    "moe_intermediate_size": 96,
    "shared_expert_intermediate_size": 160,
    "n_embd": 128,
    "n_positions": 512,
    "resid_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
}
"""A tiny configuration made wide enough for what grows with tokens to outweigh what does not."""
NOT_IN_CONFIG = ("resid_pdrop", "attn_pdrop", "embd_pdrop")


@dataclass(frozen=True)
class Built:
    """A real model with its adapter, and everything a plan is made from."""

    family: FamilyV1
    config: JsonObject
    graph: Graph
    resolved: Resolved
    base: Any
    adapted: Any
    specs: tuple[TensorSpec, ...]

    @property
    def trainable(self) -> list[Any]:
        return [parameter for parameter in self.adapted.parameters() if parameter.requires_grad]


class Held(torch.nn.Module):
    """A model that PEFT does not take for one of transformers', whose target names it would rewrite.

    PEFT 0.21 turns gate_proj, up_proj and down_proj of some mixture families into their routed experts, whichever
    module is named, and leaves a dense layer of the same names without an adapter.
    """

    def __init__(self, model: Any, quantised: bool) -> None:
        super().__init__()
        self.held = model
        self.is_loaded_in_4bit = quantised

    def forward(self, **arguments: Any) -> Any:
        return self.held(**arguments)


def widened(family: FamilyV1, **changes: Any) -> JsonObject:
    config = copy.deepcopy(family.tiny_config)
    section = config.get("text_config", config)
    wanted = WIDER | changes
    section.update({name: value for name, value in wanted.items() if name in section})
    if "n_embd" in section:
        section.update({name: wanted[name] for name in NOT_IN_CONFIG})
    return config


def build(family_id: str, settings: JsonObject, *, config: JsonObject | None = None, quantise: bool = False) -> Built:
    """Build the trained class with random weights and put an adapter on what the plan says."""
    family = FAMILIES[family_id]
    config = config or family.tiny_config
    resolved = resolve("tiny", None, settings)
    dtype = torch.bfloat16 if resolved.preset.compute_dtype == "bf16" else torch.float32
    base = _model(family, config, dtype)
    specs = tuple(expand(family, config, trained_class(family).selection))
    if quantise:
        _quantise(base, specs, resolved.preset.double_quant)
    base.requires_grad_(False)
    graph = graph_of(family, config, _stored(base, specs))
    adapted = _adapted(base, graph, specs, resolved, quantise)
    return Built(family, config, graph, resolved, base, adapted, specs)


def _model(family: FamilyV1, config: JsonObject, dtype: torch.dtype) -> Any:
    memory = trained_class(family)
    section = config.get("text_config", config) if memory.config_section == "text" else config
    parsed = transformers.AutoConfig.for_model(**copy.deepcopy(section))
    return transformers.AutoModelForCausalLM.from_config(parsed, dtype=dtype, attn_implementation="sdpa")


def _stored(base: Any, specs: Sequence[TensorSpec]) -> dict[tuple[str, int | None], str]:
    """The base as if it had been stored in the types it is held in."""
    names = {torch.float32: "F32", torch.bfloat16: "BF16"}
    held = dict(base.state_dict())
    return {
        (spec.role, spec.layer): names[held[spec.key].dtype] for spec in specs if spec.entry.dtypes and spec.required
    }


def _adapted(base: Any, graph: Graph, specs: Sequence[TensorSpec], resolved: Resolved, quantised: bool) -> Any:
    preset = resolved.preset
    names = [
        f"held.{spec.key.removesuffix('.weight')}"
        for spec in specs
        if spec.lora is not None and spec.layer is not None and not spec.entry.routed
        if any(chosen(graph, _class(graph, spec), spec.lora, name) for name in preset.targets)
    ]
    lora = peft.LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        lora_dropout=preset.dropout,
        target_modules=names,
        fan_in_fan_out=any(spec.entry.orientation == "in_out" for spec in specs) and not quantised,
    )
    return peft.get_peft_model(Held(base, quantised), lora)


def _class(graph: Graph, spec: TensorSpec) -> Any:
    return next(tensor for tensor in graph.tensors if tensor.role == spec.role)


def _quantise(base: Any, specs: Sequence[TensorSpec], double_quant: bool) -> None:
    """Put every matrix that the family allows into NF4, by bitsandbytes itself."""
    import bitsandbytes

    for spec in specs:
        module = base.get_submodule(spec.key.removesuffix(".weight")) if spec.nf4 and not spec.entry.routed else None
        if not isinstance(module, torch.nn.Linear):
            continue
        small = bitsandbytes.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=module.weight.dtype,
            compress_statistics=double_quant,
            quant_type="nf4",
        )
        small.load_state_dict(module.state_dict())
        small.bias = module.bias  # the one it makes itself is in float32
        base.set_submodule(spec.key.removesuffix(".weight"), small.to("cpu"))


def tensors_of(value: Any) -> Iterator[Any]:
    """Every tensor in a nest of dictionaries and lists."""
    yield from (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of an optimizer's state, a shared table once."""
    found = [tensor.untyped_storage() for tensor in tensors_of(dict(optimizer.state))]
    storages = {storage._cdata: storage for storage in found}
    return sum(storage.nbytes() for storage in storages.values())


def quantised_modules(built: Built) -> list[Any]:
    """Every 4-bit matrix of the base."""
    if built.resolved.preset.base_quant == "none":
        return []
    import bitsandbytes

    return [module for module in built.base.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]


def quantisation_tensors(module: Any) -> list[Any]:
    """The constants of one 4-bit matrix."""
    state = module.weight.quant_state
    nested = [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    return [state.absmax, state.code, *nested]


def saved_by_layer(built: Built, batch: int, length: int) -> Counter[int | None]:
    """Bytes that a forward pass keeps for the backward pass, layer by layer, without parameters and buffers."""
    model = built.adapted.train()
    frozen = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    here: list[int | None] = [None]
    seen: dict[int, Any] = {}
    kept: Counter[int | None] = Counter()

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in frozen and storage._cdata not in seen:
            seen[storage._cdata] = storage
            kept[here[0]] += storage.nbytes()
        return tensor

    with _marking_layers(model, here), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = _forward(built, torch.randint(0, 90, (batch, length)))
    del output
    return kept


@contextmanager
def _marking_layers(model: Any, here: list[int | None]) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        *_, parent, last = ["", "", *name.split(".")]
        if last.isdigit() and parent in ("layers", "h"):
            handles.append(module.register_forward_pre_hook(lambda *_, layer=int(last): here.__setitem__(0, layer)))
            handles.append(module.register_forward_hook(lambda *_: here.__setitem__(0, None)))
    yield
    for handle in handles:
        handle.remove()


def _forward(built: Built, ids: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16, enabled=built.resolved.preset.compute_dtype == "bf16"):
        return built.adapted(input_ids=ids, use_cache=False).logits


class Live(TorchDispatchMode):
    """Counts the bytes of every storage that exists, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = 0
        self.peak = 0

    def add(self, tensor: Any) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        pytree.tree_map_(self.add, result)
        return result


class ChunkedLoss(torch.autograd.Function):
    """Cross-entropy whose logits exist a chunk of rows at a time; the gradient of the rows is kept instead."""

    @staticmethod
    def forward(ctx: Any, rows: Any, head: Any, labels: Any, chunk: int) -> Any:
        gradient = torch.empty_like(rows)
        total = torch.zeros(())
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            logits = rows[part] @ head.t()
            predicted = torch.log_softmax(logits.float(), -1)
            del logits
            total -= predicted.gather(1, labels[part, None]).sum()
            wanted = predicted.exp_()
            wanted.scatter_add_(1, labels[part, None], torch.full((len(wanted), 1), -1.0))
            gradient[part] = (wanted.to(rows.dtype) @ head) / len(rows)
        ctx.save_for_backward(gradient)
        return total / len(rows)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        return ctx.saved_tensors[0] * outer[0], None, None, None


def step_peak(built: Built) -> int:
    """The most bytes that exist at once in a real training step, after a first one has made the optimizer's state."""
    preset = built.resolved.preset
    model = built.adapted.train()
    if preset.gradient_checkpointing:
        built.base.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(built.trainable, lr=1e-4, foreach=False)
    ids = torch.randint(0, 90, (preset.batch_size, preset.seq_len))
    live = Live()
    for tensor in [*model.parameters(), *model.buffers()]:
        live.add(tensor)
    for module in quantised_modules(built):
        for tensor in quantisation_tensors(module):
            live.add(tensor)
    with live:
        for _ in range(2):
            live.peak = 0
            _train_once(built, ids)
            optimizer.step()
    return live.peak


def _train_once(built: Built, ids: Any) -> None:
    preset = built.resolved.preset
    last = min(preset.seq_len, preset.ce_last_k or preset.seq_len)
    with torch.autocast("cpu", torch.bfloat16, enabled=preset.compute_dtype == "bf16"):
        hidden = built.base.base_model(input_ids=ids, use_cache=False).last_hidden_state
        rows = hidden[:, -last:].reshape(-1, hidden.shape[-1])
        labels = ids[:, -last:].reshape(-1)
        head = built.base.get_output_embeddings().weight
        loss = ChunkedLoss.apply(rows, head, labels, preset.loss_chunk_size or len(rows))
    loss.backward()
