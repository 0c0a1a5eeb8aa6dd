"""Writing checkpoints: a whole folder or none, the same bytes every time, and shapes of any size in kilobytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from mens_contracts.families import FAMILIES

from mens.checkpoint.keys.keymap import expand
from mens.checkpoint.storage.folder import open_checkpoint
from mens.checkpoint.storage.index import NAME
from mens.checkpoint.storage.random_source import RandomSource
from mens.checkpoint.storage.sources import SparseSource, TensorInfo
from mens.checkpoint.storage.write import plan_shards, write_checkpoint
from mens.contracts.errors import ResourceError, UsageError

Folder = Callable[..., Path]
MOE_440B = {
    "model_type": "qwen3_5_moe_text",
    "architectures": ["Qwen3_5MoeForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 68,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 1024,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 64,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
    "tie_word_embeddings": False,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def test_the_same_tensors_give_the_same_bytes(checkpoint: Folder) -> None:
    for options in ({}, {"max_shard_bytes": 400}):
        first, second = (checkpoint(f"{name}{len(options)}", **options) for name in ("a", "b"))
        assert contents(first) == contents(second)
        assert len(contents(first)) == (4 if options else 2)


def test_tensors_are_divided_in_their_order(tensors: list[TensorInfo]) -> None:
    def sizes(max_bytes: int) -> list[tuple[str, list[int]]]:
        return [
            (shard.name, [tensor.num_bytes for tensor in shard.tensors]) for shard in plan_shards(tensors, max_bytes)
        ]

    assert sizes(10**9) == [("model.safetensors", [32, 256, 256, 128, 16])]
    assert sizes(432) == [
        ("model-00001-of-00002.safetensors", [32, 256, 128, 16]),
        ("model-00002-of-00002.safetensors", [256]),
    ]
    assert [name for name, _ in sizes(1)] == [f"model-0000{at}-of-00005.safetensors" for at in range(1, 6)]
    assert plan_shards([])[0].tensors == ()


def test_the_library_loads_what_is_written(checkpoint: Folder, tensors: list[TensorInfo]) -> None:
    folder = checkpoint(max_shard_bytes=400)
    made = RandomSource(7, tensors)
    index = json.loads((folder / NAME).read_text())
    found = {}
    for shard in sorted(set(index["weight_map"].values())):
        found |= safetensors.torch.load_file(folder / shard)
    assert found.keys() == index["weight_map"].keys() == {tensor.name for tensor in tensors}
    for name, tensor in found.items():
        assert bytes(tensor.contiguous().view(torch.uint8).numpy().tobytes()) == bytes(made.read(name))


def test_nothing_is_written_over(checkpoint: Folder, tensors: list[TensorInfo], tmp_path: Path) -> None:
    folder = checkpoint()
    before = contents(folder)
    (tmp_path / "link").symlink_to("nowhere")
    for taken in (folder, folder / "config.json", tmp_path / "link"):
        with pytest.raises(UsageError) as error:
            write_checkpoint(taken, SparseSource(tensors), {})
        assert (error.value.code, error.value.what) == ("MENS-C043", "already exists; nothing was written")
    assert contents(folder) == before


class FailingSource(RandomSource):
    """A disk that fails, or a user who interrupts, after so many reads."""

    def __init__(self, tensors: list[TensorInfo], after: int, failure: BaseException) -> None:
        super().__init__(0, tensors)
        self.left, self.failure = after, failure

    def read_range(self, name: str, start: int, stop: int) -> memoryview:
        self.left -= 1
        if self.left < 0:
            raise self.failure
        return super().read_range(name, start, stop)


@pytest.mark.parametrize("after", range(5))
def test_a_failure_at_any_tensor_leaves_nothing(after: int, tensors: list[TensorInfo], tmp_path: Path) -> None:
    full = FailingSource(tensors, after, OSError(28, "No space left on device"))
    with pytest.raises(ResourceError) as error:
        write_checkpoint(tmp_path / "out", full, {}, max_shard_bytes=400)
    assert error.value.code == "MENS-P006"
    assert error.value.what == (
        "cannot be written: No space left on device; 688 bytes of tensors are needed. Nothing was left there"
    )
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / "out", FailingSource(tensors, after, KeyboardInterrupt()), {})
    assert list(tmp_path.iterdir()) == []


DYING = """
import os, sys
from pathlib import Path
from mens.checkpoint.storage.random_source import RandomSource
from mens.checkpoint.storage.sources import TensorInfo
from mens.checkpoint.storage.write import write_checkpoint
class Dying(RandomSource):
    def read_range(self, name, start, stop):
        os._exit(9)
write_checkpoint(Path(sys.argv[1]), Dying(0, [TensorInfo("a", "F32", (4,))]), {})
"""


def test_the_next_run_clears_what_a_killed_one_left(tensors: list[TensorInfo], tmp_path: Path) -> None:
    """A process that dies within the write leaves a hidden folder and no target; another target's is left alone."""
    environ = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "out")], env=environ, check=False)
    assert done.returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".mens-tmp.out.")
    (tmp_path / ".mens-tmp.other.1").mkdir()
    write_checkpoint(tmp_path / "out", RandomSource(0, tensors), {"config.json": b'{"model_type": "llama"}'})
    assert {file.name for file in tmp_path.iterdir()} == {"out", ".mens-tmp.other.1"}
    assert len(open_checkpoint(tmp_path / "out").tensors) == 5


def test_a_missing_parent_is_made_and_a_forbidden_one_is_told(tensors: list[TensorInfo], tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a" / "b" / "out", SparseSource(tensors), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError) as error:
        write_checkpoint(tmp_path / "file" / "out", SparseSource(tensors), {})
    assert error.value.where == str(tmp_path / "file" / "out")


@pytest.mark.parametrize(("experts", "num_tensors"), [("fused", 1176), ("per_expert", 105_488)])
def test_440_billion_parameters_take_next_to_nothing(experts: str, num_tensors: int, tmp_path: Path) -> None:
    """Fused experts: kilobytes of headers for 880 GB of tensors. Expert by expert, the names alone are megabytes."""
    selection = {"prefix": "text_only", "vision": "absent", "experts": experts, "mtp": "absent"}
    specs = list(expand(FAMILIES["qwen3_5_moe"], MOE_440B, selection))
    source = SparseSource(TensorInfo(spec.key, "BF16", spec.shape) for spec in specs)
    folder = tmp_path / experts
    shards = write_checkpoint(folder, source, {"config.json": json.dumps(MOE_440B).encode()})
    opened = open_checkpoint(folder)
    assert len(opened.tensors) == len(specs) == num_tensors
    assert sum(tensor.num_elements for tensor in opened.tensors.values()) > 440 * 10**9
    assert opened.num_bytes == sum(shard.num_bytes for shard in shards) > 880 * 10**9
    assert on_disk(folder) < (2_000_000 if experts == "fused" else 30_000_000)
    assert {name: tensor.shape for name, tensor in opened.tensors.items()} == {spec.key: spec.shape for spec in specs}
