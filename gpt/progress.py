"""How a training run's progress reads: one line per look, with the time left and what share of the card is used."""


def describe_step(
    step: int,
    steps: int,
    loss: float | None,
    rate: float,
    speed: float,
    left_seconds: float,
    mfu: float | None,
) -> str:
    """A line for people; `speed` in tokens per second, `mfu` in [0, 1] or None where the card's peak is unknown."""
    shown = "not finite" if loss is None else f"{loss:.4f}"
    share = "" if mfu is None else f"  MFU {mfu:.1%}"
    left = f"  {describe_seconds(left_seconds)} left" if step < steps else ""
    return f"step {step}/{steps}  loss {shown}  rate {rate:.2e}  {speed:,.0f} tokens/s{share}{left}"


def describe_seconds(seconds: float) -> str:
    """A span of time, to the second below an hour: "45 s", "12:05 min", "3:07 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
