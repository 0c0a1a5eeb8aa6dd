"""Adapter, gradients and optimizer state against tensors that torch, PEFT and bitsandbytes really make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mens_contracts.families import FAMILIES

from mens.plan import memory
from mens.plan.activations import Situation
from mens.plan.resolve import resolve
from mens.plan.targets import Target, targets
from tests.plan.measure import Built, build, state_bytes, widened

CPU = Situation(device="cpu", fused_kernels=False)
SETTINGS = {"base_quant": "none", "compute_dtype": "fp32", "targets": ["all"]}


def stepped(built: Built, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for parameter in built.trainable:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return optimizer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_weights_gradients_and_adamw(family: str, dtype: str) -> None:
    built = build(family, SETTINGS | {"compute_dtype": dtype, "rank": 6})
    preset, found = built.resolved.preset, targets(built.graph, built.resolved.preset)
    optimizer = stepped(built, torch.optim.AdamW(built.trainable))
    assert memory.lora_weights(found, preset) == sum(p.untyped_storage().nbytes() for p in built.trainable)
    assert memory.gradients(found, preset, CPU) == sum(p.grad.untyped_storage().nbytes() for p in built.trainable)
    assert memory.optimizer(found, preset, CPU) == (state_bytes(optimizer), 0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
@pytest.mark.parametrize(("family", "rank"), [("qwen3_5", 4), ("qwen3_5", 40), ("llama", 64), ("gpt2", 300)])
def test_bitsandbytes_optimizers(name: str, family: str, rank: int) -> None:
    """On a CPU nothing is paged; small tensors keep 32 bits, and the two tables exist only if a large one is there."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw": bitsandbytes.optim.PagedAdamW32bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    settings = SETTINGS | {"optimizer": name, "rank": rank}
    built = build(family, settings, config=widened(FAMILIES[family]))
    optimizer = stepped(built, kinds[name](built.trainable))
    found = targets(built.graph, built.resolved.preset)
    assert memory.optimizer(found, built.resolved.preset, CPU) == (state_bytes(optimizer), 0)


def only(inputs: int, outputs: int, modules: int = 1) -> tuple[Target, ...]:
    return (Target("decoder", "mlp.up", inputs, outputs, modules, True),)


def state(name: str, found: tuple[Target, ...], rank: int, device: Any = "cuda") -> tuple[int, int]:
    preset = resolve("4080", None, {"optimizer": name, "rank": rank}).preset
    return memory.optimizer(found, preset, Situation(device=device))


def test_what_is_paged_lives_on_the_host() -> None:
    """bitsandbytes pages states of at least 100,000 numbers, and their scales never."""
    large, small = 8 * 12_500, 8 * 12_499
    assert state("paged_adamw", only(12_500, 12_499), 8) == (8 * small, 8 * large)
    scales = 8 * (-(-large // 256) + -(-small // 256))
    assert state("paged_adamw_8bit", only(12_500, 12_499), 8) == (2 * small + scales + 2048, 2 * large)
    assert state("paged_adamw", only(12_500, 12_499), 8, "cpu") == (8 * (large + small), 0)


def test_several_devices_exchange_gradients() -> None:
    preset = resolve("distributed").preset
    found = only(64, 32, 3)
    assert memory.gradients(found, preset, Situation(num_devices=2)) == 2 * memory.gradients(found, preset, Situation())


def test_autocast_keeps_a_copy_of_the_adapter() -> None:
    found = only(64, 32, 3)
    assert memory.lora_copies(found, resolve("4080").preset) == 2 * 3 * 16 * 96
    assert memory.lora_copies(found, resolve("4080", None, {"compute_dtype": "fp32"}).preset) == 0
