"""`reverse_only`: the native kernels' refusal of forward mode, in our words under `jax.jit` too.

An operand that passes is the same number. Its tangent passes a linear primitive whose transpose is
the identity, so reverse mode, which only transposes it, does not notice; forward mode would have to
compute it, and is told the way out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def no_derivative(name: str) -> str:
    """The message for a derivative that compiled kernels do not have."""
    return (
        f"{name}: the native kernels have reverse mode of first order only; forward mode (jvp, "
        "jacfwd) and second derivatives (hessian, grad of grad) need the pure JAX path. Use "
        "backend='xla' for this call, or `with sx.backend('xla'):` around it."
    )


def reverse_only(name: str, operands: Any) -> Any:
    """The tree `operands`, of which the op `name` has gradients and no forward mode."""

    def mark(x: Any) -> Any:
        # An array that is not traced has no tangent.
        traced = isinstance(x, Tracer) and jnp.issubdtype(x.dtype, jnp.floating)
        return _value_p.bind(x, name=name) if traced else x

    return jax.tree.map(mark, operands)


_value_p, _tangent_p = Primitive("reverse_only"), Primitive("reverse_only_tangent")


def _refuse(*_: Any, name: str) -> Any:
    raise TypeError(no_derivative(name))


def _tangent_of_value(primals: Any, tangents: Any, *, name: str) -> Any:
    (x,), (t,) = primals, tangents
    y = _value_p.bind(x, name=name)
    return y, t if isinstance(t, ad.Zero) else _tangent_p.bind(t, name=name)


for primitive in (_value_p, _tangent_p):
    primitive.def_abstract_eval(lambda x, *, name: x)
    batching.primitive_batchers[primitive] = lambda args, axes, *, name, primitive=primitive: (
        primitive.bind(*args, name=name),
        *axes,
    )
_value_p.def_impl(lambda x, *, name: x)
mlir.register_lowering(_value_p, lambda _, x, *, name: [x])
ad.primitive_jvps[_value_p] = _tangent_of_value
_tangent_p.def_impl(_refuse)
mlir.register_lowering(_tangent_p, _refuse)
ad.deflinear2(_tangent_p, lambda cotangent, _, *, name: [cotangent])
