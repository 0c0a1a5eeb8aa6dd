"""How many optimizer steps a run takes, as far as that is known before a row is read."""

from __future__ import annotations

from collections.abc import Iterator

from mens_contracts.training_preset_v1 import TrainingPresetV1


def training_rows(num_rows: int, preset: TrainingPresetV1) -> int:
    """Rows that are left to train on once the validation share is held out, which is never all of them."""
    held_out = int(num_rows * preset.validation_split)
    return num_rows - held_out


def optimizer_steps(num_rows: int, preset: TrainingPresetV1, num_devices: int) -> int | None:
    """Optimizer steps of the whole run; None where packing joins rows in a way that only tokens tell."""
    if preset.packing:
        return preset.max_steps
    rows = training_rows(num_rows, preset)
    per_step = preset.batch_size * preset.grad_accum * num_devices
    steps = preset.epochs * -(-rows // per_step)
    return min(steps, preset.max_steps) if preset.max_steps is not None else steps


def remarks(num_rows: int, steps: int | None, preset: TrainingPresetV1) -> Iterator[str]:
    """What a person should know about these rows and this many steps."""
    if num_rows == 0:
        yield "The data file holds no row."
    if preset.packing:
        yield "With packing the number of steps depends on tokens, and the rows were not tokenised."
    if preset.min_rating > 0:
        yield f"Rows were counted, not read: those rated below min_rating {preset.min_rating} are still in the count."
    if steps is None:
        return
    if preset.warmup_steps > steps // 10:
        yield f"The warm-up of {preset.warmup_steps} steps is capped at a tenth of {steps:,} steps, {steps // 10:,}."
    if preset.checkpoint_every_steps >= steps > 0:
        yield f"checkpoint_every_steps {preset.checkpoint_every_steps} is never reached in {steps:,} steps."
    if preset.early_stopping_patience is not None and preset.validation_split == 0:
        yield "early_stopping_patience has no effect: validation_split 0 holds out nothing to validate on."
