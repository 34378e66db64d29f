"""Learning rate, weight decay and momentum of every step: warm-up, constant, linear decay. Pure arithmetic."""

from gpt.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of update `step`, counted from 0 to config.steps - 1."""
    warmup = config.warmup_share * config.steps
    decay = config.decay_share * config.steps
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    left = (config.steps - step) / decay if decay else 1.0
    falling = min(1.0, config.final_rate_share + (1 - config.final_rate_share) * left)
    return config.learning_rate * min(rising, falling)


def weight_decay(step: int, config: TrainingConfig) -> float:
    """The weight decay of update `step`: linear from the configured value to its final share."""
    done = step / config.steps
    return config.weight_decay * (1 - done * (1 - config.weight_decay_final_share))


def momentum(step: int, config: TrainingConfig) -> float:
    """Muon's momentum in update `step`: 0.1 below the configured value, at the end 0.05 below.

    It rises over 300 steps, or 15% of them if those are fewer, and falls while the learning rate falls
    (github.com/KellerJordan/modded-nanogpt, github.com/karpathy/nanochat).
    """
    rising = min(1.0, step / max(1.0, min(300, 0.15 * config.steps)))
    decay = config.decay_share * config.steps
    falling = max(0.0, 1 - (config.steps - step) / decay) if decay else 0.0
    return config.momentum - 0.1 * (1 - rising) - 0.05 * falling
