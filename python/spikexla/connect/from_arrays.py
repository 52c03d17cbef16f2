"""Connectivity from what the user already has: pairs, a scipy matrix, a dense matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import library
from .base import CSR, check_range, count, empty, trusted_csr


def from_arrays(pre: Any, post: Any, n_pre: int, n_post: int) -> tuple[CSR, np.ndarray]:
    """Groups the synapses `pre[s] -> post[s]` by source and target.

    Returns the connectivity and `order`: synapse k of it is synapse `order[k]` of the input, so
    `weights[order]` are its weights. Pairs may come in any order and repeat; repeated pairs keep
    their order.

    Errors: TypeError for indices that are not integers, ValueError for lengths that differ and for
    an index out of range (the first one, with its position).

    >>> conn, order = from_arrays([1, 0, 1], [2, 1, 0], n_pre=2, n_post=3)
    >>> conn, order.tolist()
    (CSR(shape=(2, 3), nnz=3), [1, 2, 0])
    """
    n_pre, n_post = count("n_pre", n_pre), count("n_post", n_post)
    pre, post = _list("pre", pre), _list("post", post)
    if pre.size != post.size:
        raise ValueError(
            f"pre has {pre.size} synapses and post {post.size}. They are the two ends of one list."
        )
    check_range("pre", pre, n_pre, "n_pre")
    check_range("post", post, n_post, "n_post")
    pre, post = (np.ascontiguousarray(x, np.int32) for x in (pre, post))
    what = f"{pre.size} synapses"
    indptr = empty((n_pre + 1,), np.int64, what)
    order = empty((pre.size,), np.int64, what)
    targets = empty((pre.size,), np.int32, what)
    library.native().from_arrays(pre, post, indptr, targets, order)
    return trusted_csr(indptr, targets, n_post), order


def from_scipy(matrix: Any) -> tuple[CSR, np.ndarray]:
    """The connectivity and weights of a scipy sparse matrix of shape `(n_pre, n_post)`.

    Stored entries are synapses, stored zeros and repeated entries included.
    """
    if not hasattr(matrix, "tocoo"):
        raise TypeError(
            f"from_scipy got {type(matrix).__name__}, not a scipy sparse matrix. Use from_dense "
            "for an array and from_arrays for pairs."
        )
    coo = matrix.tocoo()
    if len(coo.shape) != 2:
        raise ValueError(f"the matrix has shape {coo.shape}, but must be (n_pre, n_post).")
    conn, order = from_arrays(coo.row, coo.col, *coo.shape)
    return conn, coo.data[order]


def from_dense(matrix: Any) -> tuple[CSR, np.ndarray]:
    """The connectivity and weights of a dense matrix `(n_pre, n_post)`: its non-zero entries.

    >>> import numpy as np
    >>> conn, weights = from_dense(np.array([[0.0, 2.0], [0.5, 0.0]]))
    >>> conn, weights.tolist()
    (CSR(shape=(2, 2), nnz=2), [2.0, 0.5])
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"the matrix has shape {matrix.shape}, but must be (n_pre, n_post).")
    pre, post = np.nonzero(matrix)
    conn, order = from_arrays(pre, post, *matrix.shape)
    return conn, matrix[pre, post][order]


def _list(name, x):
    x = np.asarray(x)
    if x.size == 0 and x.dtype == np.float64:  # what numpy makes of []
        x = x.astype(np.int32)
    if not np.issubdtype(x.dtype, np.integer):
        raise TypeError(f"{name} has dtype {x.dtype}, but neuron indices are integers. Cast it.")
    if x.ndim != 1:
        raise ValueError(f"{name} has shape {x.shape}, but must be one list of indices.")
    return x
