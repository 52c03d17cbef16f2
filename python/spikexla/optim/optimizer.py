"""Optimizer: changes parameters against their gradients, by a rule of optax."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal, TypedDict

import jax
import jax.numpy as jnp

from ..atomic import Transaction
from ..module import Module
from ..state import ACTIVE, TraceError, has_tracer
from ..statedict import StateDict
from ..transform.jit import jit
from . import gradients
from . import saved as saved_state
from .group import ParamGroup, Rate, trainable
from .scheduler import LRScheduler, positive
from .schedules import one_of
from .state import OptimState


class Common(TypedDict, total=False):
    """The keywords that every optimiser takes; `Optimizer` says what they do."""

    learning_rate: Rate
    weight_decay: float
    grad_clip_norm: float | None
    grad_clip_value: float | None
    nonfinite: Literal["apply", "skip", "raise"]
    donate: bool


class Optimizer(Module, abc.ABC):
    """Base of the optimisers: `register_trainable_weights` once, `update(grads)` at each step.

    lr, learning_rate: a number, an `LRScheduler` (which its `step()` advances), or a function of
    the count of updates such as a schedule of optax; `default_lr` of the class if not given.  A
    number may be changed at any time, `optimizer.lr = 1e-4`, and compiles nothing anew.
    weight_decay: this part of each parameter is taken off at each step; through the gradient
    (L2), or where the rule has a decay of its own (`AdamW`, `Lion`, `Lamb`...) by that.
    grad_clip_norm: gradients whose common norm is larger are scaled down to it.
    grad_clip_value: elements of gradients are cut off at this size.
    nonfinite: a NaN or an infinity in a gradient is applied as it is, or makes the whole update be
    skipped (`skipped` counts them), or is an error and changes nothing (outside of `jit` only).

    donate: an update reuses the memory of the parameters and of what it remembers: that much less
    at its peak.  An interrupt never takes a value; a device that fails in an update may.

    Parameters that hold quantities keep their unit; the rule works on their numbers.

    >>> w = ParamState(jnp.ones(2))
    >>> optimizer = sx.optim.SGD(lr=0.5).register_trainable_weights({"w": w})
    >>> optimizer.update({"w": jnp.ones(2)})
    >>> w.value
    Array([0.5, 0.5], dtype=float32)
    """

    default_lr: ClassVar[float] = 1e-3
    # How optax's rule calls its own weight decay; None to decay through the gradient.
    decay_argument: ClassVar[str | None] = None

    @abc.abstractmethod
    def __init__(
        self,
        lr: Rate | None,
        rule: Any,
        options: dict[str, Any],
        *,
        learning_rate: Rate | None = None,
        weight_decay: float = 0.0,
        grad_clip_norm: float | None = None,
        grad_clip_value: float | None = None,
        nonfinite: Literal["apply", "skip", "raise"] = "apply",
        donate: bool = False,
    ) -> None:
        """`rule` is the name of an optimiser of optax, or a function of its learning rate."""
        super().__init__()
        if learning_rate is not None and lr is not None:
            raise TypeError(
                f"lr={lr!r} and learning_rate={learning_rate!r} are two names of one thing; "
                "give one"
            )
        clips = {"grad_clip_norm": grad_clip_norm, "grad_clip_value": grad_clip_value}
        for name, clip in clips.items():
            if clip is not None:
                positive(clip, name)
        self.rule, self.options = rule, options
        self.grad_clip_norm, self.grad_clip_value = grad_clip_norm, grad_clip_value
        self.nonfinite = one_of(nonfinite, "nonfinite", ("apply", "skip", "raise"))
        self.donate = donate
        rate = learning_rate if lr is None else lr
        rate = self.default_lr if rate is None else rate
        self.param_groups = [ParamGroup(rate, weight_decay, 0)]
        self.step_count = OptimState(jnp.asarray(0, jnp.int32))
        self.skipped = OptimState(jnp.asarray(0, jnp.int32))

    # -- what is trained ----------------------------------------------------------------------

    @property
    def params(self) -> StateDict:
        """Every registered parameter by path."""
        return StateDict((k, s) for group in self.param_groups for k, s in group.params.items())

    def register_trainable_weights(self, params: Any) -> Optimizer:
        """Takes the parameters to train, any tree of ParamStates; returns the optimiser."""
        found = trainable(params)
        first = self.param_groups[0]
        if first.params:
            if [*found.items()] == [*first.params.items()]:
                return self
            raise ValueError(
                f"this optimiser already trains {', '.join(map(str, self.params))}; add more with "
                "add_param_group, or make a second optimiser"
            )
        if not found:
            raise ValueError(
                "there are no parameters to train: the tree of States is empty. Register "
                "net.states(ParamState) of a module that has some."
            )
        self._start(first, found)
        return self

    def add_param_group(
        self, params: Any, *, lr: Rate | None = None, weight_decay: float | None = None
    ) -> ParamGroup:
        """Trains more parameters, with a learning rate and weight decay of their own.

        By default they are those of the first group; of a schedule with several base rates, the
        next one.
        """
        first = self.param_groups[0]
        found, known = trainable(params), self.params
        if not first.params:
            raise ValueError("call register_trainable_weights before add_param_group")
        for key, state in found.items():
            if key in known or any(state is other for other in known.values()):
                raise ValueError(f"{key!r} is in a parameter group already; a parameter has one")
        decay = first.weight_decay if weight_decay is None else weight_decay
        group = ParamGroup(first.rate if lr is None else lr, decay, len(self.param_groups))
        self._start(group, found)
        self.param_groups = [*self.param_groups, group]
        return group

    def _start(self, group: ParamGroup, params: StateDict) -> None:
        group.params = params
        memory = self._rule(group, group.lr_at(0)).init(group.numbers())
        # Strongly typed from the start, as after an update: else the second would compile again.
        group.memory.value = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), memory)

    def _rule(self, group: ParamGroup, lr: Any) -> Any:
        """The transformation of optax; it is remade at each trace, so `lr` may be traced."""
        import optax

        options = dict(self.options)
        if self.decay_argument is not None:
            options[self.decay_argument] = group.weight_decay
        make = getattr(optax, self.rule) if isinstance(self.rule, str) else self.rule
        rule = make(learning_rate=lr, **options)
        if self.decay_argument is None and group.weight_decay:
            rule = optax.chain(optax.add_decayed_weights(group.weight_decay), rule)
        return rule

    # -- the step -----------------------------------------------------------------------------

    def update(self, grads: Any) -> None:
        """Changes the parameters against `grads`, a tree with their keys.

        A group of parameters that has no gradient at all is left alone.  Raises KeyError for a
        gradient that is missing or belongs to nothing, ValueError for a wrong shape,
        FloatingPointError with `nonfinite='raise'`.
        """
        params = self.params
        if not params:
            raise ValueError(
                "the optimiser has no parameters; call register_trainable_weights first, with "
                "net.states(ParamState)"
            )
        found = gradients.match(grads, params)
        gradients.check_complete(found, self.param_groups)
        if ACTIVE.frame is not None:
            if self.nonfinite == "raise":
                raise ValueError(
                    "nonfinite='raise' cannot raise from compiled code; use nonfinite='skip' and "
                    "look at optimizer.skipped, or call update outside of jit"
                )
            self._step(found)
            return
        if has_tracer(found):
            raise TraceError(
                "the gradients are traced by a transform of jax itself (jax.jit, jax.vmap...), "
                "which cannot carry States. Use the one of the same name in spikexla.transform."
            )
        if self.__dict__.get("_compiled") is None:
            compiled = jit(self._step, donate_states=self.donate)
            object.__setattr__(self, "_compiled", compiled)
        # A learning rate is a number of Python; and a module that trains for hours does not lose it
        # in the end.
        with jax.transfer_guard_host_to_device("allow"), Transaction(keep=True):
            finite = self.__dict__["_compiled"](found)
        if self.nonfinite == "raise" and not all(finite.values()):
            bad = ", ".join(repr(name) for name, good in finite.items() if not good)
            raise FloatingPointError(
                f"the gradient of {bad} is not finite; nothing was changed. Lower the learning "
                "rate, clip the gradients, or use nonfinite='skip'."
            )

    step = update

    def _step(self, grads: dict[str, Any]) -> dict[str, Any]:
        finite = {}
        if self.nonfinite != "apply":
            finite = {name: _is_finite(grad) for name, grad in grads.items()}
        good = jnp.all(jnp.stack([*finite.values()])) if finite else True
        count = self.step_count.value
        # optax is written for the usual promotion of dtypes and ranks, whatever the user chose.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            grads = self._clipped(grads)
            for group in self.param_groups:
                mine = {str(key): grads[str(key)] for key in group.params if str(key) in grads}
                if mine:
                    self._step_group(group, mine, count, good)
            self.step_count.value = count + good
            self.skipped.value = self.skipped.value + (1 - good)
        return finite

    def _step_group(self, group: ParamGroup, grads: dict, count: Any, good: Any) -> None:
        import optax

        before, memory = group.numbers(), group.memory.value
        rule = self._rule(group, group.lr_at(count))
        changes, after = rule.update(grads, memory, before)
        values = optax.apply_updates(before, changes)

        def kept(new: Any, old: Any) -> Any:
            new = jnp.asarray(new, jnp.result_type(old))  # a wide learning rate widens nothing
            return new if good is True else jnp.where(good, new, old)

        group.memory.value = jax.tree.map(kept, after, memory)
        for name, value in jax.tree.map(kept, values, before).items():
            group.put(name, value)

    def _clipped(self, grads: Any) -> Any:
        import optax

        clips: list[Any] = []
        if self.grad_clip_norm is not None:
            clips.append(optax.clip_by_global_norm(self.grad_clip_norm))
        if self.grad_clip_value is not None:
            clips.append(optax.clip(self.grad_clip_value))
        for clip in clips:
            grads, _ = clip.update(grads, None)
        return grads

    # -- the learning rate --------------------------------------------------------------------

    @property
    def lr(self) -> Any:
        """The learning rate of the first group at the next update."""
        return self.param_groups[0].lr_at(self.step_count.value)

    @lr.setter
    def lr(self, value: Any) -> None:
        self.param_groups[0].lr = value

    learning_rate = lr
    current_lr = lr

    @property
    def lr_scheduler(self) -> LRScheduler | None:
        """The scheduler that the learning rate follows, if it follows one."""
        rate = self.param_groups[0].rate
        return rate if isinstance(rate, LRScheduler) else None

    # -- saving -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers, as plain dicts of arrays and numbers, which pickle.

        {'step_count', 'skipped', 'scheduler', 'param_groups': [{'params', 'lr', 'weight_decay',
        'memory'}]}; `load_state_dict` takes it back.
        """
        scheduler = self.lr_scheduler
        return {
            "step_count": self.step_count.value,
            "skipped": self.skipped.value,
            "scheduler": scheduler.state_dict() if scheduler is not None else None,
            "param_groups": [
                {
                    "params": [str(key) for key in group.params],
                    "lr": group.rate.value if isinstance(group.rate, OptimState) else None,
                    "weight_decay": group.weight_decay,
                    "memory": saved_state.by_path(group.memory.value),
                }
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave, of an optimiser with the same rule and parameters.

        Raises ValueError that names what does not fit; then nothing has changed.
        """
        scheduler = self.lr_scheduler
        saved_state.check(saved, self.param_groups, scheduler is not None)
        entries = saved["param_groups"]
        memories = [
            saved_state.restored(group.memory.value, entry["memory"], f"the memory of group {k}")
            for k, (group, entry) in enumerate(zip(self.param_groups, entries, strict=True))
        ]
        with Transaction():
            if scheduler is not None:
                scheduler.load_state_dict(saved["scheduler"])
            for group, entry, memory in zip(self.param_groups, entries, memories, strict=True):
                group.memory.value, group.weight_decay = memory, entry["weight_decay"]
                if isinstance(group.rate, OptimState) and entry["lr"] is not None:
                    group.lr = entry["lr"]
            self.step_count.value = jnp.asarray(saved["step_count"], jnp.int32)
            self.skipped.value = jnp.asarray(saved["skipped"], jnp.int32)

    def __getstate__(self) -> dict[str, Any]:
        kept: Any = super().__getstate__()
        return {name: x for name, x in kept.items() if name != "_compiled"}


def _is_finite(grad: Any) -> Any:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grad)]))
