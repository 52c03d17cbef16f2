"""The two containers of connectivity, and what all builders check."""

from __future__ import annotations

import abc
import operator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

LARGEST_INT32 = 2**31 - 1


class Connectivity(abc.ABC):
    """Synapses from `n_pre` sources to `n_post` targets, grouped by source, each row sorted.

    Immutable, and a pytree: it may be an argument of `jax.jit`, `vmap` and `scan`. Weights are kept
    apart, one a synapse in the same order, or one for all.
    """

    indices: Any
    n_post: int

    @property
    @abc.abstractmethod
    def n_pre(self) -> int:
        """The number of sources."""

    @property
    def shape(self) -> tuple[int, int]:
        """`(n_pre, n_post)`."""
        return self.n_pre, self.n_post

    @property
    def nnz(self) -> int:
        """The number of synapses."""
        return int(np.prod(self.indices.shape, dtype=np.int64))

    def __setattr__(self, name, value):
        raise AttributeError(
            f"{type(self).__name__}.{name} cannot be set: connectivity is immutable. Build "
            "a new one."
        )

    def __delattr__(self, name):
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, nnz={self.nnz})"


@jax.tree_util.register_pytree_with_keys_class
class CSR(Connectivity):
    """Compressed sparse rows: source i projects to `indices[indptr[i]:indptr[i + 1]]`.

    `indptr` is `(n_pre + 1,)` int32 or int64, `indices` is `(nnz,)` int32 with each row ascending.
    Concrete arrays are checked here; traced ones are trusted. Raises TypeError for dtypes and
    ValueError for shapes and values.

    >>> import numpy as np
    >>> CSR(np.array([0, 2, 3]), np.array([0, 4, 1]), n_post=5)
    CSR(shape=(2, 5), nnz=3)
    """

    indptr: Any

    def __init__(self, indptr, indices, n_post: int):
        n_post = count("n_post", n_post, least=0)
        indptr = _integers("indptr", indptr, 1, keep_int64=True)
        indices = _integers("indices", indices, 1)
        if indptr.shape[0] == 0:
            raise ValueError(
                "indptr has no elements. It holds n_pre + 1 row starts, the first is 0."
            )
        if not isinstance(indptr, Tracer):
            _check_indptr(np.asarray(indptr), indices.shape[0])
        if not isinstance(indices, Tracer) and not isinstance(indptr, Tracer):
            _check_rows(np.asarray(indptr), np.asarray(indices), n_post)
        _fill(self, indptr=indptr, indices=indices, n_post=n_post)

    @property
    def n_pre(self) -> int:
        return self.indptr.shape[-1] - 1

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey
        return ((key("indptr"), self.indptr), (key("indices"), self.indices)), self.n_post

    @classmethod
    def tree_unflatten(cls, n_post, children):
        indptr, indices = children
        return _fill(object.__new__(cls), indptr=indptr, indices=indices, n_post=n_post)


@jax.tree_util.register_pytree_with_keys_class
class FixedFanOut(Connectivity):
    """Every source has the same number of synapses: source i projects to `indices[i]`.

    `indices` is `(n_pre, fan_out)` int32 with each row ascending. Concrete arrays are checked
    here; traced ones are trusted. Raises TypeError for dtypes and ValueError for shapes and values.

    >>> import numpy as np
    >>> FixedFanOut(np.array([[0, 4], [1, 1]]), n_post=5)
    FixedFanOut(shape=(2, 5), nnz=4)
    """

    def __init__(self, indices, n_post: int):
        n_post = count("n_post", n_post, least=0)
        indices = _integers("indices", indices, 2)
        if not isinstance(indices, Tracer):
            n_pre, fan = indices.shape
            _check_rows(np.arange(n_pre + 1) * fan, np.asarray(indices).reshape(-1), n_post)
        _fill(self, indices=indices, n_post=n_post)

    @property
    def n_pre(self) -> int:
        return self.indices.shape[-2]

    @property
    def fan_out(self) -> int:
        """The number of synapses of each source."""
        return self.indices.shape[-1]

    def tree_flatten_with_keys(self):
        return ((jax.tree_util.GetAttrKey("indices"), self.indices),), self.n_post

    @classmethod
    def tree_unflatten(cls, n_post, children):
        return _fill(object.__new__(cls), indices=children[0], n_post=n_post)


def _fill(conn, **fields):
    for name, value in fields.items():
        object.__setattr__(conn, name, value)
    return conn


def trusted_csr(indptr: np.ndarray, indices: np.ndarray, n_post: int) -> CSR:
    """A CSR of arrays that a builder made; its int64 `indptr` becomes int32 where it can."""
    if indptr[-1] <= LARGEST_INT32:
        indptr = indptr.astype(np.int32)
    elif not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"{indptr[-1]} synapses need 64-bit row starts, which JAX has only with "
            "jax.config.update('jax_enable_x64', True). Set it, use fixed_num_post, or split the "
            "sources into several projections."
        )
    return CSR.tree_unflatten(n_post, (jnp.asarray(indptr), take_over(indices)))


def trusted_fan_out(indices: np.ndarray, n_post: int) -> FixedFanOut:
    """A FixedFanOut of an array that a builder made."""
    return FixedFanOut.tree_unflatten(n_post, (take_over(indices),))


def take_over(x: np.ndarray):
    """`x` as a JAX array; on a CPU without a copy, for the builder forgets it."""
    return jax.device_put(x, may_alias=True)


def _integers(name, x, rank, *, keep_int64=False):
    """`x` as an int32 (or int64) array of `rank` axes."""
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
        x = x.astype(np.int32) if x.size == 0 else x
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{name} has dtype {x.dtype}, but indices are integers. Use int32.")
    if x.ndim != rank:
        raise ValueError(f"{name} has shape {x.shape}, but must have {rank} axes.")
    if x.dtype == np.int32 or (
        keep_int64 and x.dtype == np.int64 and jax.config.read("jax_enable_x64")
    ):
        return jnp.asarray(x)
    if not isinstance(x, Tracer) and x.size:
        low, high = int(x.min()), int(x.max())
        if low < -LARGEST_INT32 or high > LARGEST_INT32:
            raise ValueError(f"{name} holds {high if high > 0 else low}, which int32 cannot.")
    return jnp.asarray(x).astype(np.int32) if hasattr(x, "aval") else jnp.asarray(x, np.int32)


def _check_indptr(indptr, nnz):
    if indptr[0] != 0 or indptr[-1] != nnz:
        raise ValueError(
            f"indptr runs from {indptr[0]} to {indptr[-1]}, but must run from 0 to nnz = {nnz}, "
            "the length of indices."
        )
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        i = int(falls[0])
        raise ValueError(
            f"indptr falls from {indptr[i]} to {indptr[i + 1]} at row {i}. Row starts never fall; "
            "from_arrays builds them from (pre, post) pairs."
        )


def _check_rows(indptr, indices, n_post):
    check_range("indices", indices, n_post, "n_post")
    falls = indices[1:] < indices[:-1]
    starts = indptr[1:-1]
    starts = starts[(starts > 0) & (starts < indices.size)]
    falls[starts - 1] = False
    if falls.any():
        at = int(np.argmax(falls))
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        raise ValueError(
            f"row {row} of indices is not sorted: {indices[at]} comes before {indices[at + 1]}. "
            "Sort each row together with its weights, or use from_arrays, which returns the order."
        )


def check_range(name: str, x: np.ndarray, bound: int, bound_name: str) -> None:
    """Raises ValueError with the first element outside [0, bound) and its position."""
    if x.size == 0 or (x.min() >= 0 and x.max() < bound):
        return
    at = int(np.argmax((x < 0) | (x >= bound)))
    raise ValueError(
        f"{name}[{at}] = {x[at]} is outside [0, {bound}), the range that {bound_name} = {bound} "
        f"allows. Are pre and post exchanged, or is {bound_name} too small?"
    )


def count(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as an int of at least `least`, small enough for 32-bit indices."""
    number = _integer(name, value)
    if number < least:
        raise ValueError(f"{name}={number} must be at least {least}.")
    if number > LARGEST_INT32:
        raise ValueError(
            f"{name}={number} is more than {LARGEST_INT32}, the reach of int32 indices."
        )
    return number


def check_first_source(value: Any) -> int:
    """The target that source 0 is; below 0 where the sources begin before the targets."""
    return count("first_source", value, least=-LARGEST_INT32)


def selves(n_pre: int, n_post: int, first_source: int) -> range:
    """The sources that are targets too: source i is target `first_source + i`."""
    return range(max(0, -first_source), min(n_pre, n_post - first_source))


def total_count(name: str, value: Any) -> int:
    """`value` as a number of synapses: an int of at least 0, which may pass that of int32."""
    number = _integer(name, value)
    if not 0 <= number < 2**63:
        raise ValueError(f"{name}={number} must lie in [0, 2**63).")
    return number


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be an integer.") from None


def check_seed(seed: Any) -> int:
    """`seed` as an unsigned 64-bit integer."""
    try:
        if isinstance(seed, (bool, np.bool_)):
            raise TypeError
        number = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed={seed!r} must be an integer, not a key or a float.") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"seed={number} must lie in [0, 2**64).")
    return number


def require_memory(need: int, what: str) -> None:
    """MemoryError if `need` bytes are not there; an estimate before the arrays of a whole task."""
    have = available_memory()
    if have is not None and need > have:
        raise MemoryError(
            f"{what} need {need / 1e9:.3g} GB, but {have / 1e9:.3g} GB are free. Use fewer neurons "
            "or synapses, or a machine with more memory."
        )


def empty(shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
    """Uninitialised memory that JAX takes over without a copy; MemoryError if it is not there."""
    dtype = np.dtype(dtype)
    need = int(np.prod(shape, dtype=object)) * dtype.itemsize
    require_memory(need, what)
    room = np.empty(need + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + need].view(dtype).reshape(shape)


def available_memory() -> int | None:
    """Bytes that can still be had on this machine, or None where nobody says."""
    free = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(free) if free else None
