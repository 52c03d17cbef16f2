"""rounded: a product that is rounded before anything is added to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def rounded(product: Any, total: Any = None) -> jax.Array:
    """`product`, which XLA then does not fuse with a sum into one multiply-add.

    Kernels round products (docs/explanation/numerics.md), so steps that are composed of JAX
    operations must do so too, to give the same bits. LLVM contracts no multiplication behind a
    choice whose end it cannot foresee. It foresees that a product with constants is not NaN: then
    give the `total` to which it will be added.

    >>> rounded(2.0 * 3.0).tolist()
    6.0
    """
    product = jnp.asarray(product)
    opaque = product if total is None else total
    return jnp.where(opaque == opaque, product, jnp.nan)
