"""Several processes that train one model together, as torchrun starts them: what they tell each other.

Gradients and other large tensors travel by NCCL between CUDA cards and by gloo between CPUs; small things (orders,
flags) always by gloo, so that nobody waits for a device. One process alone (`ALONE`) tells nobody anything, and then
torch.distributed is never touched. Knows tensors and numbers, neither models nor steps.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from gpt.errors import GPTError

BUCKET = 2**25  # elements that are summed in one message, 128 MiB of float32
PATIENCE = timedelta(hours=6)  # how long the others wait while the first process scores, samples and saves


class Ranks:
    """`count` processes of which this is number `number`; every method with a message is called by all of them alike.

    Those methods raise GPTError when another process is gone.
    """

    def __init__(self, number: int = 0, count: int = 1, quick: Any = None) -> None:
        """`quick` is the process group of the small messages; None: the one of the large messages."""
        self.number, self.count, self.quick = number, count, quick
        self.in_update = False  # of the first process: the others are in one, and do not wait for an order

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides, writes and speaks."""
        return self.number == 0

    def rows(self, total: int) -> tuple[int, int]:
        """This process's share of rows 0 to `total`: begin and end; shares differ by one row at most."""
        return self.number * total // self.count, (self.number + 1) * total // self.count

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type and device by their sums over all processes, the same bits on all of them."""
        if self.count == 1:
            return
        from torch.distributed import all_reduce

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._tell(all_reduce, flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            torch._foreach_copy_(list(bucket), [p.view_as(t) for p, t in zip(parts, bucket, strict=True)])

    def map_stack(self, work: Callable[[Tensor], Tensor], stack: Tensor) -> Tensor:
        """`work(stack)` where work treats every matrix of (count, rows, columns) by itself: each process does a share.

        All processes get the same bits; how many share the work may change the last ones.
        """
        if self.count == 1:
            return work(stack)
        from torch.distributed import all_gather_into_tensor

        share = -(-len(stack) // self.count)
        mine = stack[self.number * share : (self.number + 1) * share]
        done = stack.new_zeros(share, *stack.shape[1:])
        if len(mine):
            done[: len(mine)] = work(mine)
        whole = stack.new_empty(share * self.count, *stack.shape[1:])
        self._tell(all_gather_into_tensor, whole, done)
        return whole[: len(stack)]

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.largest([int(flag)])[0])

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over all processes."""
        if self.count == 1:
            return list(numbers)
        from torch.distributed import ReduceOp, all_reduce

        together = torch.tensor(numbers)
        self._tell(all_reduce, together, op=ReduceOp.MAX, group=self.quick)
        return [int(number) for number in together.tolist()]

    def from_first(self, content: Any) -> Any:
        """What the first process passes as `content`, a small thing that can be pickled, in every process."""
        if self.count == 1:
            return content
        from torch.distributed import broadcast_object_list

        box = [content]
        self._tell(broadcast_object_list, box, src=0, group=self.quick)
        return box[0]

    def fill_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Copy the first process's tensors into those of the others, of the same shapes and types."""
        if self.count == 1:
            return
        from torch.distributed import broadcast

        for tensor in tensors:
            self._tell(broadcast, tensor, src=0)

    def leave(self) -> None:
        """End the connections; nothing can be told afterwards."""
        if self.count > 1:
            from torch.distributed import destroy_process_group

            destroy_process_group()

    def _tell(self, message: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        try:
            message(*arguments, **options)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch.distributed's own errors are RuntimeErrors, too
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise LostRankError(
                f"Process {self.number} of {self.count} lost another one ({reason}): look for what it said before it "
                f"ended, then run the same command to go on from the last checkpoint."
            ) from None


class LostRankError(GPTError):
    """Another process of this run cannot be reached any more."""


ALONE = Ranks()


def join(device: str, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Meet the other processes that torchrun has started, and take this one's own card.

    `device` is the job's (`Runtime.device`). Alone when there are no others. Raises GPTError when there are more
    processes than cards, or the others do not come.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    from torch import distributed

    cards = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    local = int(environment.get("LOCAL_RANK", "0"))
    if cards:
        if local >= cards:
            raise GPTError(
                f"Process {local + 1} of this machine has no card of its own: torch finds {cards}. Start at most "
                f"{cards} per machine (runtime.processes, --nproc-per-node), or set runtime.device to cpu."
            )
        torch.cuda.set_device(local)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo")
        quick = distributed.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise GPTError(
            f"The {environment['WORLD_SIZE']} processes of this run did not meet at {environment.get('MASTER_ADDR')}:"
            f"{environment.get('MASTER_PORT')}: {str(error).splitlines()[0]}. See that all are started and reach it."
        ) from None
    ranks = Ranks(distributed.get_rank(), distributed.get_world_size(), quick)
    if ranks.any(cards > 0) and ranks.any(cards == 0):
        raise GPTError("Some processes of this run have a CUDA card and some have none: set runtime.device to cpu.")
    return ranks


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of at most BUCKET elements together; a larger tensor has one to itself."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
