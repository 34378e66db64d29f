"""The corpus stages on many workers, on paper: `python -m tests.benchmarks.scaling_plan [--terabytes N]`.

A simulation, in which one flow's process and one Prefect server hand out the units of a stage one after the other, and
workers that are free take them. What it counts with was measured on one machine (docs/scaling.md says how) and can be
given anew; nothing here was run on a thousand workers. Reading and writing are taken to keep up: the traffic that
cleaning asks of the store is printed beside.
"""

import argparse
import heapq
import random
import sys
from dataclasses import dataclass, replace

TASK_STAGES = ("raw", "documents", "duplicates", "corpus", "overlap", "tokens")


@dataclass(frozen=True)
class Measured:
    """What one task and one megabyte cost, in seconds of one core, unless it is said otherwise."""

    flow: float = 0.10  # of the flow's process for a task: it hands out one after the other
    server: float = 0.026  # of Prefect's server for a task; it is one process
    around: float = 0.25  # of a worker for a task, before and after the unit's own work
    lookup: float = 0.0003  # of the flow's process for a unit that is looked up
    signatures: float = 80.0  # MB/s at which earlier signatures are read and compared with
    document: float = 2_500.0  # bytes of a document
    speeds: tuple[float, ...] = (250.0, 4.0, float("inf"), 60.0, 80.0, 50.0)  # MB/s of the stages above, one core
    spread: float = 0.15  # of a unit's time, as a share of it (standard deviation)


@dataclass(frozen=True)
class Simulated:
    """One stage: hours it takes, share of the workers' time that is work, and what the others waited for."""

    hours: float
    efficiency: float
    limit: str


def stage_seconds(measured: Measured, stage: int, slot_mb: float, number: int) -> float:
    """The work on slot `number` of a stage, of exact duplicates that on the signatures of all slots before it."""
    if TASK_STAGES[stage] == "duplicates":
        return (number + 1) * slot_mb * 1e6 / measured.document * 16 / 1e6 / measured.signatures
    return slot_mb / measured.speeds[stage]


def simulate(measured: Measured, stage: int, slots: int, slot_mb: float, workers: int, seed: int = 1) -> Simulated:
    """Hand out the units of a stage: each costs its share of flow and server, then a worker's time."""
    draw = random.Random(seed)
    dispatch = max(measured.flow, measured.server)
    free = [0.0] * workers
    now, last, work = slots * measured.lookup, 0.0, 0.0
    for number in range(slots):
        now += dispatch
        begins = max(now, heapq.heappop(free))
        needed = stage_seconds(measured, stage, slot_mb, number) * max(0.2, draw.gauss(1, measured.spread))
        ends = begins + needed + measured.around
        heapq.heappush(free, ends)
        last, work = max(last, ends), work + needed
    efficiency = work / (last * workers)
    handing_out = slots * dispatch / last
    limit = "handing out" if handing_out > 0.9 else "too few slots" if slots < 4 * workers else "workers"
    return Simulated(last / 3600, efficiency, limit)


def limits(measured: Measured, slot_mb: float) -> list[str]:
    """Where it breaks, by division."""
    dispatch = max(measured.flow, measured.server)
    clean = stage_seconds(measured, 1, slot_mb, 0)
    others = sum(stage_seconds(measured, stage, slot_mb, 0) for stage in (0, 1, 3, 4, 5))
    equal = others / stage_seconds(measured, 2, slot_mb, 0)
    return [
        f"{1 / dispatch:,.0f} tasks a second can be handed out, whatever waits for them",
        f"so cleaning ({clean:,.1f} s a slot) keeps at most {clean / dispatch:,.0f} workers busy",
        f"a task costs {measured.around / clean:.1%} beside the cleaning of its slot",
        f"from slot {equal:,.0f} on ({equal * slot_mb / 1e6:,.2f} TB) a drop list outlasts all else of its slot",
    ]


def main() -> int:
    """Print one table for each size of a slot, then where it breaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--terabytes", type=float, default=10.0)
    parser.add_argument("--slot-mb", type=float, nargs="+", default=[64.0, 256.0, 1024.0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    for name in ("flow", "server", "around", "lookup"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Measured(), name), help="seconds")
    arguments = parser.parse_args()
    measured = replace(
        Measured(), **{name: getattr(arguments, name) for name in ("flow", "server", "around", "lookup")}
    )
    for slot_mb in arguments.slot_mb:
        slots = max(1, round(arguments.terabytes * 1e6 / slot_mb))
        print(f"\n{arguments.terabytes:g} TB in {slots:,} slots of {slot_mb:g} MB, {6 * slots:,} tasks")
        print(
            f"  {'workers':>8}  " + "".join(f"{stage:>22}" for stage in TASK_STAGES) + f"{'in all, without drops':>24}"
        )
        for workers in arguments.workers:
            found = [simulate(measured, stage, slots, slot_mb, workers) for stage in range(len(TASK_STAGES))]
            cells = (f"{one.hours:,.1f} h {one.efficiency:4.0%} {one.limit[:8]}" for one in found)
            whole = sum(one.hours for stage, one in zip(TASK_STAGES, found, strict=True) if stage != "duplicates")
            traffic = arguments.terabytes * 1e6 / (found[1].hours * 3600)
            print(
                f"  {workers:>8}  "
                + "".join(f"{cell:>22}" for cell in cells)
                + f"{whole:>15,.1f} h {traffic:,.0f} MB/s"
            )
        for line in limits(measured, slot_mb):
            print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
