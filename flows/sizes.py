"""Sizes for people."""


def size(count: float) -> str:
    """Bytes in powers of 1000, e.g. 1.9 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
