"""Operations that are linear in a parameter and whose rows have a known structure: products, convolutions, lookups."""

import abc
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jaxtyping import Array

from ..linalg import Step
from ._jaxpr import shape_of


@dataclasses.dataclass(frozen=True)
class AbstractUse(abc.ABC):
    """One operation on one leaf, at `S` positions of a sample.

    Attributes:
        place: which operation of the trace it is.
        leaf: which leaf it takes.
        steps: what makes the matrix (n_out, n_in), or the table (entries, d), of the leaf.
        eqn: the operation.
        operand: which of its operands the leaf is.
    """

    place: int
    leaf: int
    steps: tuple[Step, ...]
    eqn: JaxprEqn = dataclasses.field(repr=False)
    operand: int

    @abc.abstractmethod
    def inputs(self, operands: list) -> Array:
        """What is kept of the other operands: (S, n_in), or for a lookup the indices (S,)."""

    @abc.abstractmethod
    def by_position(self, results: Any) -> Any:
        """An array like the operation's results as (S, n_out)."""

    def reached(self, operands: list, change: Array) -> Array:
        """What of a change of the results a change of the leaf can bring about: all of it, as a rule."""
        return change

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the results."""
        return shape_of(self.eqn.outvars[0])


class MatrixUse(AbstractUse):
    """A product of the leaf with something else, over whichever axes."""

    def inputs(self, operands: list) -> Array:
        other = operands[1 - self.operand]
        contracted = self._axes(1 - self.operand)
        free = [axis for axis in range(other.ndim) if axis not in contracted]
        size = math.prod(other.shape[axis] for axis in contracted)
        return other.transpose((*free, *contracted)).reshape(-1, size)

    def by_position(self, results: Any) -> Any:
        size = math.prod(self.shape)
        n_out = math.prod(shape_of(self.eqn.invars[self.operand])) // self._n_in
        if self.operand == 0:
            return results.reshape(n_out, size // n_out).T
        return results.reshape(size // n_out, n_out)

    @property
    def _n_in(self) -> int:
        shape = shape_of(self.eqn.invars[self.operand])
        return math.prod(shape[axis] for axis in self._axes(self.operand))

    def _axes(self, operand: int) -> tuple[int, ...]:
        return tuple(self.eqn.params["dimension_numbers"][0][operand])

    @classmethod
    def match(cls, place: int, eqn: JaxprEqn, operand: int, leaf: int, steps: tuple[Step, ...]) -> "MatrixUse | None":
        contracted, batched = eqn.params["dimension_numbers"]
        shape = shape_of(eqn.invars[operand])
        if any(batched):
            return None
        free = tuple(axis for axis in range(len(shape)) if axis not in contracted[operand])
        n_in = math.prod(shape[axis] for axis in contracted[operand])
        matrix = (math.prod(shape[axis] for axis in free), n_in)
        return cls(place, leaf, _then(steps, shape, (*free, *contracted[operand]), matrix), eqn, operand)


class KernelUse(AbstractUse):
    """A convolution with the leaf as its kernel: the positions are those of the patches."""

    def inputs(self, operands: list) -> Array:
        params = self.eqn.params
        numbers = params["dimension_numbers"]
        images = operands[0].transpose(numbers.lhs_spec)
        patches = jax.lax.conv_general_dilated_patches(
            images,
            [operands[1].shape[axis] for axis in numbers.rhs_spec[2:]],
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
        )
        return jnp.moveaxis(patches, 1, -1).reshape(-1, patches.shape[1])

    def by_position(self, results: Any) -> Any:
        batch, feature, *spatial = self.eqn.params["dimension_numbers"].out_spec
        return results.transpose((batch, *spatial, feature)).reshape(-1, self.shape[feature])

    @classmethod
    def match(cls, place: int, eqn: JaxprEqn, operand: int, leaf: int, steps: tuple[Step, ...]) -> "KernelUse | None":
        if operand != 1 or eqn.params["feature_group_count"] != 1 or eqn.params["batch_group_count"] != 1:
            return None
        shape, axes = shape_of(eqn.invars[1]), eqn.params["dimension_numbers"].rhs_spec
        n_out = shape[axes[0]]
        return cls(place, leaf, _then(steps, shape, axes, (n_out, math.prod(shape) // n_out)), eqn, operand)


class LookupUse(AbstractUse):
    """Whole entries of the leaf, taken by their indices on its first axis."""

    def inputs(self, operands: list) -> Array:
        entries = operands[0].shape[0]
        if self.eqn.primitive.name == "dynamic_slice":
            indices = jnp.asarray(operands[1]).reshape(1)
        else:
            column = self.eqn.params["dimension_numbers"].start_index_map.index(0)
            indices = operands[1][..., column].ravel()
        return jnp.clip(indices, 0, entries - 1)

    def reached(self, operands: list, change: Array) -> Array:
        if self.eqn.params.get("mode") != jax.lax.GatherScatterMode.FILL_OR_DROP:
            return change
        # Where an index is out of range stands the fill value, which no entry moves.
        numbers, taken = self.eqn.params["dimension_numbers"], self.eqn.params["slice_sizes"]
        last = jnp.asarray([operands[0].shape[axis] - taken[axis] for axis in numbers.start_index_map])
        indices = operands[1].astype(last.dtype)
        inside = jnp.all((indices >= 0) & (indices <= jnp.broadcast_to(last, indices.shape)), axis=-1)
        return jnp.where(jnp.expand_dims(inside, numbers.offset_dims), change, 0)

    def by_position(self, results: Any) -> Any:
        if self.eqn.primitive.name == "dynamic_slice":
            return results.reshape(1, -1)
        entry = self.eqn.params["dimension_numbers"].offset_dims
        positions = [axis for axis in range(len(self.shape)) if axis not in entry]
        size = math.prod(self.shape[axis] for axis in entry)
        return results.transpose((*positions, *entry)).reshape(-1, size)

    @classmethod
    def match(cls, place: int, eqn: JaxprEqn, operand: int, leaf: int, steps: tuple[Step, ...]) -> "LookupUse | None":
        shape = shape_of(eqn.invars[0])
        if operand != 0 or eqn.params["slice_sizes"] != (1, *shape[1:]):
            return None
        if eqn.primitive.name == "gather":
            numbers = eqn.params["dimension_numbers"]
            if 0 not in numbers.start_index_map or numbers.operand_batching_dims:
                return None
        table = (shape[0], math.prod(shape[1:]))
        return cls(place, leaf, _then(steps, shape, tuple(range(len(shape))), table), eqn, operand)


USES: dict[str, type[Any]] = {
    "dot_general": MatrixUse,
    "conv_general_dilated": KernelUse,
    "gather": LookupUse,
    "dynamic_slice": LookupUse,
}
"""By the operation's name."""


def _then(steps: tuple[Step, ...], shape: tuple[int, ...], axes: tuple[int, ...], matrix: tuple[int, int]):
    """The steps and, where they do something, a transposition and a change of shape."""
    if axes != tuple(range(len(shape))):
        steps = (*steps, ("transpose", axes))
    if tuple(shape[axis] for axis in axes) != matrix:
        steps = (*steps, ("reshape", matrix))
    return tuple(steps)
