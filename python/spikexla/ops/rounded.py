"""rounded: a product that is rounded before anything is added to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def rounded(product: Any) -> jax.Array:
    """`product`, which XLA then does not fuse with a sum into one multiply-add.

    Kernels round products (docs/explanation/numerics.md), so steps that are composed of JAX
    operations must do so too, to give the same bits. LLVM contracts no multiplication behind a
    choice that it cannot resolve. It resolves whether a product is NaN (not, if its factors are
    constants; or as the other term of the sum, if that made the same choice), but not whether its
    bits are those of a signalling NaN, which no multiplication returns.

    >>> rounded(2.0 * 3.0).tolist()
    6.0
    """
    product = jnp.asarray(product)
    words = np.dtype(f"uint{8 * product.dtype.itemsize}")
    signalling = np.asarray(np.inf, product.dtype).view(words) + words.type(1)
    bits = jax.lax.bitcast_convert_type(product, words)
    return jnp.where(bits == signalling, jnp.nan, product)
