"""Bytes of the frozen base against what bitsandbytes and torch allocate."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from mens_contracts.families import FAMILIES

from mens.plan import weights
from mens.plan.graph import graph_of
from mens.plan.resolve import resolve
from tests.plan.measure import build, quantisation_tensors, quantised_modules
from tests.plan.sparse import released

SIZES = [(1, 1), (1, 63), (64, 1), (65, 1), (7, 9), (128, 128), (127, 129), (257, 64), (512, 96), (1, 16385)]


def stored_inputs_first(name: str) -> bool:
    """Whether a family's matrices are no torch.nn.Linear, so that only mens itself can quantise them."""
    return any(tensor.orientation == "in_out" for tensor in FAMILIES[name].tensors)


def bytes_of(tensors: list[Any]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_nf4_is_what_bitsandbytes_allocates(shape: tuple[int, int], double_quant: bool, dtype: torch.dtype) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    packed, state = bitsandbytes.functional.quantize_4bit(
        torch.randn(shape, dtype=dtype), quant_type="nf4", compress_statistics=double_quant
    )
    elements = shape[0] * shape[1]
    constants = [state.absmax, state.code]
    constants += [state.offset, state.state2.absmax, state.state2.code] if double_quant else []
    assert weights.packed_bytes(elements) == packed.untyped_storage().nbytes()
    assert weights.constant_bytes(elements, double_quant) == bytes_of(constants)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("family", [name for name in FAMILIES if not stored_inputs_first(name)])
def test_a_quantised_model_term_by_term(family: str, double_quant: bool) -> None:
    pytest.importorskip("bitsandbytes")
    built = build(family, {"double_quant": double_quant}, quantise=True)
    preset = built.resolved.preset
    small = quantised_modules(built)
    expected = [t for t in built.graph.tensors if weights.quantised(t, preset)]
    assert len(small) == sum(tensor.num for tensor in expected) > 0
    assert weights.nf4_weights(built.graph, preset) == bytes_of([module.weight for module in small])
    constants = itertools.chain.from_iterable(quantisation_tensors(module) for module in small)
    assert weights.quantisation_constants(built.graph, preset) == bytes_of(list(constants))
    packed = {module.weight.untyped_storage()._cdata for module in small}
    rest = {
        parameter.untyped_storage()._cdata: parameter
        for name, parameter in built.base.named_parameters()
        if parameter.untyped_storage()._cdata not in packed and "lora_" not in name
    }
    assert weights.remainder(built.graph, preset) == bytes_of(list(rest.values()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_unquantised_model_is_remainder_alone(family: str, dtype: str) -> None:
    built = build(family, {"base_quant": "none", "compute_dtype": dtype})
    preset = built.resolved.preset
    held = {p.untyped_storage()._cdata: p for n, p in built.base.named_parameters() if "lora_" not in n}
    assert weights.nf4_weights(built.graph, preset) == 0
    assert weights.quantisation_constants(built.graph, preset) == 0
    assert weights.remainder(built.graph, preset) == bytes_of(list(held.values()))
    assert built.graph.parameters == sum(parameter.numel() for parameter in held.values())


def test_what_a_base_stores_in_float32_is_kept_so() -> None:
    """Decay and norm of linear attention: found in F32 they stay, found in BF16 they are not widened."""
    family, config = released("Qwen/Qwen3.5-4B")
    preset = resolve("4080").preset
    stored = {(role, layer): "F32" for role in ("linear.decay", "linear.norm") for layer in range(32)}
    wide = weights.remainder(graph_of(family, config, stored), preset)
    narrow = weights.remainder(graph_of(family, config, dict.fromkeys(stored, "BF16")), preset)
    assert wide - narrow == 24 * 2 * (32 + 128)
    assert weights.remainder(graph_of(family, config), preset) in (wide, narrow)


def test_routed_experts_stay_in_sixteen_bits() -> None:
    family, config = released("Qwen/Qwen3.5-35B-A3B")
    graph, preset = graph_of(family, config), resolve("4080", None, {"experts": "16bit"}).preset
    assert weights.routed_bytes(graph, preset) == 40 * 256 * 3 * 512 * 2048 * 2
    assert weights.routed_bytes(graph, preset) < weights.remainder(graph, preset)


def test_the_largest_matrix_is_unpacked() -> None:
    family, config = released("Qwen/Qwen3.5-4B")
    graph = graph_of(family, config)
    largest = 9216 * 2560
    assert weights.dequantised(graph, resolve("4080").preset) == 2 * largest + 4 * largest // 64
    assert weights.dequantised(graph, resolve("4080", None, {"double_quant": False}).preset) == 2 * largest
    plain = resolve("4080", None, {"base_quant": "none"}).preset
    assert weights.dequantised(graph, plain) == 0
