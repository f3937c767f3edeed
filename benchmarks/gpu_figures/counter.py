"""Counts the operations of a piece of torch code, the bytes they move, and the bytes that live.

The rule: an operation counts as one launch if torch would start a kernel for it. Views and reads
of metadata do not, nor do allocations. It reads each input once and writes each output once, an
expanded input without its repetitions; a look-up reads what it finds, not the table. Host reads
(`.item()`, `.tolist()`) are synchronisations and counted apart; on fake tensors they answer 0.

An operation that another device runs as one kernel is marked with `Counter.fused`; what is done
inside is not counted. Attention is one operation. Sorts, running sums and top-k launch several
kernels on a card and count as one: too few by a few in a step of thousands.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter as Multiset
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# No kernel: allocations, and views that are not marked as such.
SILENT = {
    *("empty", "empty_strided", "new_empty", "new_empty_strided", "empty_like", "_unsafe_view"),
    *("detach", "alias", "lift_fresh", "resize_", "set_", "device", "is_same_size", "sym_size"),
    *("view_as", "record_stream"),
}
HOST_READS = {"_local_scalar_dense", "item"}
# Reads of a table, as much as comes out of it.
LOOKUPS = {"embedding", "index_select", "gather", "index", "searchsorted", "take_along_dim"}
# Writes of the values given, and not of the whole target.
SCATTERS = {"index_copy_", "index_put_", "scatter_", "index_add_", "_index_put_impl_"}

# What attention is on a CPU, what it is called here, its operations for each pair of positions, and
# which argument says that it is causal.
CPU_ATTENTION = {
    "_scaled_dot_product_flash_attention_for_cpu": ("attention", 4, 4),
    "_scaled_dot_product_flash_attention_for_cpu_backward": ("attention_backward", 10, 7),
}


@dataclass(frozen=True)
class Operation:
    """One kind of operation; equal ones are counted together."""

    name: str
    read: int
    written: int
    flops: int = 0
    rows: int = 0  # of a product with a 4-bit weight (products.py)
    shape: tuple[int, int] = (0, 0)  # (outputs, inputs) of that weight
    buffered: int = 0  # of these bytes, those of a dequantised weight, which a cache may keep


@dataclass
class Tally:
    """What was counted."""

    operations: Multiset[Operation] = field(default_factory=Multiset)
    host_reads: int = 0
    peak_bytes: int = 0

    @property
    def launches(self) -> int:
        return sum(self.operations.values())

    @property
    def moved(self) -> int:
        return sum((op.read + op.written) * n for op, n in self.operations.items())

    @property
    def flops(self) -> int:
        return sum(op.flops * n for op, n in self.operations.items())

    def by_name(self) -> Multiset[str]:
        names: Multiset[str] = Multiset()
        for op, n in self.operations.items():
            names[op.name] += n
        return names


def touched(tensor: Tensor) -> int:
    """Bytes of a tensor, an expanded dimension counted once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in sizes if stride) * tensor.element_size()


class Counter:
    """A context manager; what is done inside it, in this thread, lands in `tally`.

    Under a FakeTensorMode, enter that one first.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        """`held`: tensors that live already, whose bytes count from the start."""
        self.tally = Tally()
        self.live = 0
        self.unpadded = True  # what `all` of a fake mask answers
        self._sizes: dict[int, int] = {}
        self._silent = 0
        self._elsewhere = False
        self.buffers: set[int] = set()  # storages of dequantised weights
        self._operations, self._functions = _Operations(self), _Functions(self)
        for tensor in held:
            self.hold(tensor)

    def __enter__(self) -> Counter:
        self._operations.__enter__()
        self._functions.__enter__()
        # Reads one by one on a CPU, and copies once on a card.
        self._tolists = [(kind, kind.tolist) for kind in (torch.Tensor, FakeTensor)]
        for kind, plain in self._tolists:
            kind.tolist = self._counted_tolist(plain)  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: Any) -> None:
        for kind, plain in self._tolists:
            kind.tolist = plain  # type: ignore[method-assign]
        self._functions.__exit__(*error)
        self._operations.__exit__(*error)

    def _counted_tolist(self, plain: Any) -> Any:
        def tolist(tensor: Tensor) -> Any:
            self.tally.host_reads += not self._silent
            with self.silent():
                return plain(tensor)

        return tolist

    def fresh(self) -> Tally:
        """What was counted until now; counting starts anew, from the bytes that live."""
        was, self.tally = self.tally, Tally(peak_bytes=self.live)
        return was

    @contextmanager
    def fused(
        self,
        name: str,
        inputs: Iterable[Any],
        outputs: Iterable[Any] | None = None,
        flops: int = 0,
    ) -> Iterator[list[Any]]:
        """Inside, one operation, whatever torch calls: append its outputs to what is yielded."""
        made: list[Any] = list(outputs or ())
        read = sum(touched(t) for t in inputs if isinstance(t, Tensor))
        with self.silent():
            yield made
        written = sum(touched(t) for t in made if isinstance(t, Tensor))
        self.add(self.marked(Operation(name, read, written, flops), made))

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Inside, operations are not counted; bytes that live are."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Inside, what is allocated lies in the host's memory."""
        was, self._elsewhere = self._elsewhere, True
        try:
            yield
        finally:
            self._elsewhere = was

    def making(self, _part: str) -> AbstractContextManager[None]:
        """Inside, what is allocated is for this part: of interest to who counts by part."""
        return nullcontext()

    def add(self, operation: Operation) -> None:
        if not self._silent:
            self.tally.operations[operation] += 1

    def marked(self, operation: Operation, inputs: Iterable[Any]) -> Operation:
        """With the bytes that it reads of a dequantised weight."""
        if not self.buffers:
            return operation
        found = [
            touched(t)
            for t in inputs
            if isinstance(t, Tensor) and t.untyped_storage()._cdata in self.buffers
        ]
        return replace(operation, buffered=sum(found)) if found else operation

    def host_read(self, tensor: Tensor) -> Any:
        """Counts a synchronisation; the answer for a fake tensor, None for a real one."""
        self.tally.host_reads += not self._silent
        if not isinstance(tensor, FakeTensor):
            return None
        if tensor.dtype == torch.bool:
            return self.unpadded and getattr(tensor, "_is_all", False)
        return 0.0 if tensor.dtype.is_floating_point else 0

    def hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._sizes.get(key)
        if self._elsewhere or known == 0:
            size = 0
        if known is None:
            weakref.finalize(storage, self._free, key)
        self._sizes[key] = size
        self.live += size - (known or 0)
        self.tally.peak_bytes = max(self.tally.peak_bytes, self.live)

    def _free(self, key: int) -> None:
        self.buffers.discard(key)
        self.live -= self._sizes.pop(key)


class _Operations(TorchDispatchMode):
    """Every operation that reaches the dispatcher."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in HOST_READS:
            answer = self.counter.host_read(args[0])
            return func(*args, **kwargs) if answer is None else answer
        if func.namespace != "prim" and func._can_decompose():
            # In inference mode compositions arrive whole; elsewhere their parts arrive.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        for tensor in made:
            self.counter.hold(tensor)
            if name == "all":
                tensor._is_all = True  # type: ignore[attr-defined]
        if not (func.is_view or name in SILENT):
            operation = _operation(func, name, args, kwargs, made, result)
            self.counter.add(self.counter.marked(operation, tree_leaves((args, kwargs))))
        return result


def _operation(
    func: Any, name: str, args: Any, kwargs: Any, made: list[Tensor], result: Any
) -> Operation:
    inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if name == "gemm_4bit":
        outputs, width = args[2]
        rows = inputs[0].numel() // width
        flops = 2 * rows * outputs * width
        return Operation(name, touched(inputs[0]), touched(made[0]), flops, rows, (outputs, width))
    flops = 0
    if name in CPU_ATTENTION:  # in a recomputation, below `_Functions`
        name, times, causal_at = CPU_ATTENTION[name]
        query, key = inputs[:2] if times == 4 else inputs[1:3]
        causal = len(args) > causal_at and args[causal_at]
        flops = times * query.numel() * key.shape[-2] // (2 if causal else 1)
    elif func.overloadpacket in flop_registry:
        flops = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
    targets = _targets(func, args, kwargs)
    if name in SCATTERS:
        moved = touched(args[-1] if isinstance(args[-1], Tensor) else inputs[-1])
        return Operation(name, moved, moved, flops)
    written = sum(touched(t) for t in targets or made)
    if name in LOOKUPS:
        return Operation(name, written, written, flops)
    only_written = {id(t) for t in targets} if _overwrites(func, name) else set()
    read = sum(touched(t) for t in inputs if id(t) not in only_written)
    return Operation(name, read, written, flops)


def _targets(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Arguments that the operation writes to."""
    found = []
    for at, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[at] if at < len(args) else kwargs.get(argument.name)
            found += [t for t in tree_leaves(given) if isinstance(t, Tensor)]
    return found


def _overwrites(func: Any, name: str) -> bool:
    """Whether the target's old values are not read."""
    outs = func._overloadname.endswith("out") or any(a.is_out for a in func._schema.arguments)
    return outs or name in ("copy_", "fill_", "zero_", "uniform_", "normal_", "random_")


class _Functions(TorchFunctionMode):
    """Above the dispatcher, where attention is one call."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attention(func, *args, **kwargs)
        if func is torch.nn.functional.rms_norm:  # one kernel on a card (torch 2.9), eight on a CPU
            with self.counter.fused("rms_norm", (args[0], kwargs["weight"])) as made:
                made.append(func(*args, **kwargs))
            return made[0]
        if func is torch.Tensor.numpy and isinstance(args[0], FakeTensor):
            return np.zeros(args[0].shape)  # of the host's own numbers: no reading of a device
        return func(*args, **kwargs)

    def _attention(
        self, func: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        mask = args[0] if args else kwargs.get("attn_mask")
        causal = bool(args[2] if len(args) > 2 else kwargs.get("is_causal"))
        flops = 4 * query.numel() * key.shape[-2] // (2 if causal else 1)
        with self.counter.fused("attention", (query, key, value, mask), flops=flops) as made:
            made.append(func(query, key, value, *args, **kwargs))
        return made[0]
