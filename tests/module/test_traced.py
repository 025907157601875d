"""Row factors found in the trace of a module: of the right kind, and equal to the dense matrix of `jax.jacobian`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.linalg import (
    ArrangedRows,
    DenseRows,
    JoinedRows,
    KhatriRaoRows,
    LookupRows,
    PositionRows,
    SummedRows,
    blocks_of,
)

KEYS = jax.random.split(jax.random.key(5), 12)


class Model(eqx.Module):
    """A wrapped function of some parts."""

    parts: tuple
    fn: object = eqx.field(static=True)

    def __call__(self, z):
        return self.fn(*self.parts, z)


def images(conv, head):
    return Model((conv, head), lambda conv, head, z: head(eqx.nn.AvgPool2d(2, 2)(jax.nn.tanh(conv(z))).ravel()))


def recurrent(cell, head):
    return Model(
        (cell, head), lambda cell, head, z: head(jax.lax.scan(lambda h, x: (cell(x, h), None), 0 * z[0], z)[0])
    )


def tied_table():
    table = 0.3 * jax.random.normal(KEYS[0], (6, 4))
    return Model((Table(table), eqx.nn.Linear(4, 4, key=KEYS[1])), _language)


def _language(table, mix, ids):
    hidden = jnp.tanh(jax.vmap(mix)(table.rows[ids]))
    return (hidden @ table.rows.T).ravel()


class Table(eqx.Module):
    rows: jax.Array


class Right(eqx.Module):
    """`z @ W + b`, with the bias before the weight."""

    bias: jax.Array
    weight: jax.Array

    def __call__(self, z):
        return z @ self.weight + self.bias


class Scale(eqx.Module):
    log: jax.Array
    offset: jax.Array

    def __call__(self, z):
        return jnp.exp(self.log) * z - self.offset


class Heads(eqx.Module):
    """A weight of three axes, contracted over the middle one."""

    weight: jax.Array

    def __call__(self, z):
        return jnp.tanh(jnp.einsum("hdk,sd->hsk", self.weight, z)).ravel()


linear = eqx.nn.Linear
IDS = jnp.asarray([[0, 5, 2], [2, 2, 1], [4, 0, 0], [5, 1, 2]])


def floats(*shape):
    return jax.random.normal(KEYS[11], shape)


ZOO = {
    "mlp": (
        eqx.nn.MLP(5, 3, 4, 2, activation=jnp.tanh, key=KEYS[0]),
        floats(4, 5),
        [KhatriRaoRows] * 3,
    ),
    "without biases": (eqx.nn.MLP(5, 3, 4, 1, use_bias=False, key=KEYS[0]), floats(4, 5), [KhatriRaoRows] * 2),
    "batch of one": (eqx.nn.MLP(5, 3, 4, 1, key=KEYS[0]), floats(1, 5), [KhatriRaoRows] * 2),
    "the other way round": (Right(floats(3), floats(5, 3)), floats(4, 5), [ArrangedRows]),
    "two layers without anything between": (
        eqx.nn.Sequential([linear(5, 4, key=KEYS[0]), linear(4, 3, key=KEYS[1])]),
        floats(4, 5),
        [KhatriRaoRows] * 2,
    ),
    "convolution": (
        images(eqx.nn.Conv2d(2, 3, 3, padding=1, stride=1, key=KEYS[0]), linear(12, 3, key=KEYS[1])),
        floats(4, 2, 4, 4),
        [ArrangedRows, KhatriRaoRows],
    ),
    "strided and dilated": (
        Model((eqx.nn.Conv1d(2, 3, 2, stride=2, dilation=2, use_bias=False, key=KEYS[0]),), lambda c, z: c(z).ravel()),
        floats(4, 2, 9),
        [ArrangedRows],
    ),
    "grouped": (
        Model((eqx.nn.Conv1d(4, 4, 2, groups=2, key=KEYS[0]),), lambda c, z: c(z).ravel()),
        floats(4, 4, 5),
        [DenseRows],
    ),
    "norms": (
        Model(
            (eqx.nn.LayerNorm(6), linear(6, 4, key=KEYS[0]), eqx.nn.GroupNorm(2, 4), Scale(floats(4), floats(4))),
            lambda a, b, c, d, z: d(c(b(a(z)))),
        ),
        floats(4, 6),
        [DenseRows, KhatriRaoRows, DenseRows, DenseRows],
    ),
    "mapped over a sequence": (
        Model((linear(5, 4, key=KEYS[0]),), lambda a, z: jnp.tanh(jax.vmap(a)(z)).ravel()),
        floats(4, 3, 5),
        [PositionRows],
    ),
    "heads": (Heads(floats(2, 5, 3)), floats(4, 3, 5), [ArrangedRows]),
    "embedding": (
        Model(
            (eqx.nn.Embedding(6, 4, key=KEYS[0]), linear(12, 2, key=KEYS[1])), lambda e, a, z: a(jax.vmap(e)(z).ravel())
        ),
        IDS,
        [LookupRows, KhatriRaoRows],
    ),
    "filled where there is no entry": (
        Model((Table(floats(6, 4)),), lambda t, z: jnp.take(t.rows, z, axis=0, fill_value=0.5).sum(0)),
        jnp.asarray([[0, 6, -1], [7, 9, 6], [-7, 2, 2]]),
        [LookupRows],
    ),
    "filled where there is no column": (
        Model((Table(floats(6, 1)),), lambda t, z: t.rows.at[z[0], z[1:]].get(mode="fill", fill_value=0.5)),
        jnp.asarray([[0, 0, 1], [6, 0, 0], [5, 1, 0]]),
        [LookupRows],
    ),
    "clipped": (
        Model((Table(floats(6, 4)),), lambda t, z: jnp.take(t.rows, z, axis=0, mode="clip").sum(0)),
        jnp.asarray([[0, 6, -1], [7, 9, 6]]),
        [LookupRows],
    ),
    "one word": (
        Model((eqx.nn.Embedding(6, 4, key=KEYS[0]), linear(4, 2, key=KEYS[1])), lambda e, a, z: a(jnp.tanh(e(z)))),
        IDS[:, 0],
        [LookupRows, KhatriRaoRows],
    ),
    "attention": (
        Model((eqx.nn.MultiheadAttention(2, 4, key=KEYS[0]),), lambda a, z: a(z, z, z).ravel()),
        floats(4, 3, 4),
        [PositionRows] * 4,
    ),
    "a layer twice": (
        Model((linear(5, 5, key=KEYS[0]),), lambda a, z: a(jnp.tanh(a(z)))),
        floats(4, 5),
        [PositionRows],
    ),
    "tied by `Shared`": (
        eqx.nn.Shared(
            eqx.nn.Sequential([linear(5, 5, key=KEYS[0]), eqx.nn.Lambda(jnp.tanh), linear(5, 5, key=KEYS[1])]),
            lambda model: model.layers[2].weight,
            lambda model: model.layers[0].weight,
        ),
        floats(4, 5),
        [JoinedRows, DenseRows],
    ),
    "tied table": (tied_table(), IDS, [SummedRows, PositionRows]),
    "scan inside": (
        recurrent(eqx.nn.GRUCell(4, 4, key=KEYS[0]), linear(4, 3, key=KEYS[1])),
        floats(4, 3, 4),
        [DenseRows, KhatriRaoRows],
    ),
}


class Unshared(eqx.Module):
    shared: eqx.nn.Shared

    def __call__(self, z):
        return self.shared()(z)


def wrapped(model):
    return fm.wrap(Unshared(model) if isinstance(model, eqx.nn.Shared) else model)


def bundle(outputs, rows=3):
    count = outputs.shape[0] * rows * int(np.prod(outputs.shape[1:]))
    return (
        jnp.cos(1.0 + jnp.arange(float(count)))
        .reshape(outputs.shape[0], rows, *outputs.shape[1:])
        .astype(outputs.dtype)
    )


def dense_by_block(net, inputs, costates):
    """`K` of each block from the Jacobian of each sample's output in each leaf, (N, C, P)."""
    leaves, rest = eqx.partition(net, eqx.is_inexact_array)
    flat, structure = jax.tree.flatten(leaves)

    def output(flat, z):
        return eqx.combine(jax.tree.unflatten(structure, flat), rest)(z)

    by_leaf = jax.jit(jax.vmap(jax.jacrev(output), (None, 0)))(flat, inputs)
    n, c = costates.shape[:2]
    flat_costates = np.asarray(costates, dtype=float).reshape(n, c, -1)
    rows = [flat_costates @ np.asarray(j, dtype=float).reshape(n, flat_costates.shape[2], -1) for j in by_leaf]
    return [np.concatenate([rows[i] for i in block], axis=2).reshape(n * c, -1) for block in blocks_of(leaves).leaves]


def check(net, inputs, kinds):
    """The types of the factors, and their products against the dense matrices."""

    @eqx.filter_jit
    def ours(net, inputs):
        outputs, pull = net.linearise(inputs)
        costates = bundle(outputs)
        factors, back = pull(costates)
        answers = []
        for factor in factors:
            vector = tuple(jnp.cos(1.0 * places_of(shape)) for shape in factor.shapes)
            rows = jnp.sin(1.0 * places_of(factor.row_shape))
            mass = tuple(by_unit(shape) for shape in factor.shapes)
            answers.append((factor.to_dense(), factor.mv(vector), factor.rmv(rows), factor.gram(mass)))
        by_input = jax.vmap(jax.jacrev(net))(inputs) if jnp.issubdtype(inputs.dtype, jnp.floating) else None
        return outputs, costates, back, factors, answers, jax.vmap(net)(inputs), by_input

    outputs, costates, back, factors, answers, plain, by_input = ours(net, inputs)
    close(outputs, plain)
    assert [type(factor) for factor in factors] == kinds
    if by_input is not None:
        n, c = costates.shape[:2]
        outer = by_input.reshape(n, -1, inputs[0].size)
        close(back.reshape(n, c, -1), costates.reshape(n, c, -1) @ outer)
    for factor, (dense, mv, rmv, gram), K in zip(factors, answers, dense_by_block(net, inputs, costates), strict=True):
        assert factor.row_shape == costates.shape[:2]
        assert tuple(leaf.shape for leaf in rmv) == factor.shapes
        close(dense, K)
        close(mv.ravel(), K @ np.cos(np.concatenate([places_of(shape).ravel() for shape in factor.shapes])))
        close(np.concatenate([leaf.ravel() for leaf in rmv]), K.T @ np.sin(np.arange(len(K))))
        D = np.concatenate([np.broadcast_to(by_unit(shape), shape).ravel() for shape in factor.shapes])
        close(gram, (K / D) @ K.T)


def places_of(shape):
    return np.arange(int(np.prod(shape))).reshape(shape)


def by_unit(shape):
    return 1.0 + 0.1 * jnp.arange(float(shape[0])).reshape(-1, *(1,) * (len(shape) - 1))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", ZOO)
def test_factors_are_of_their_kind_and_exact(name):
    model, inputs, kinds = ZOO[name]
    check(wrapped(model), inputs, kinds)


def test_a_plan_says_what_each_leaf_got_and_why():
    """Structure that is lost shows: a weight in a loop, too large for short rows, is generic, with its reason."""
    model = Model(
        (eqx.nn.LayerNorm(4), recurrent(eqx.nn.GRUCell(4, 20, key=KEYS[0]), linear(20, 3, key=KEYS[1]))), _late
    )
    plan = fm.wrap(model).plan(jnp.ones((3, 4)))
    kinds = {(row.block.removeprefix("module."), row.leaf): row.kind for row in plan.rows}
    cell, head = "parts.1.parts.0", "parts.1.parts.1"
    assert kinds == {
        ("parts.0", "weight"): "short rows",
        ("parts.0", "bias"): "short rows",
        (cell, "weight_ih"): "short rows",
        (cell, "weight_hh"): "generic: used in `scan`",
        (cell, "bias"): "short rows",
        (cell, "bias_n"): "short rows",
        (head, "weight"): "outer product",
        (head, "bias"): "outer product",
    }
    lines = str(plan).splitlines()
    assert lines[0].split() == ["block", "leaf", "shape", "rows"]
    assert len(lines) == 1 + len(plan.rows)
    assert "weight_hh  (60, 20)  generic: used in `scan`" in str(plan)


def _late(norm, rest, z):
    cell, head = rest.parts
    start = jnp.zeros(20)
    return head(jax.lax.scan(lambda h, x: (cell(norm(x), h), None), start, z)[0])


def test_a_generic_leaf_is_exact_beside_structured_ones():
    key = jax.random.key(0)
    model = Model((eqx.nn.LayerNorm(4), recurrent(eqx.nn.GRUCell(4, 20, key=key), linear(20, 3, key=key))), _late)
    check(fm.wrap(model), floats(2, 3, 4), [DenseRows, ArrangedRows, KhatriRaoRows])


PLANNED = {
    "convolution": ["sum over 16 positions"] * 2 + ["outer product"] * 2,
    "attention": ["sum over 3 positions"] * 4,
    "embedding": ["lookup at 3 positions"] + ["outer product"] * 2,
    "one word": ["lookup at 1 position"] + ["outer product"] * 2,
    "a layer twice": ["sum over 2 positions"] * 2,
    "tied table": ["sum of 2 uses: lookup at 3 positions, sum over 3 positions"] + ["sum over 3 positions"] * 2,
}


@pytest.mark.parametrize("name", PLANNED)
def test_plans_count_positions(name):
    model, inputs, _ = ZOO[name]
    assert [row.kind for row in wrapped(model).plan(inputs[0]).rows] == PLANNED[name]


def test_layers_of_ours_have_a_plan_too(key):
    net = fm.Linear(3, 4, key=key) >> fm.Pointwise(jnp.tanh) >> fm.wrap(eqx.nn.LayerNorm(4))
    plan = net.plan(jax.ShapeDtypeStruct((3,), float))
    assert [(row.block, row.leaf, row.shape, row.kind) for row in plan.rows] == [
        ("layers.0", "weight", (4, 3), "outer product"),
        ("layers.0", "bias", (4,), "outer product"),
        ("layers.2.module", "weight", (4,), "short rows"),
        ("layers.2.module", "bias", (4,), "short rows"),
    ]


def test_a_bias_that_does_more_than_to_be_added_is_no_part_of_an_outer_product():
    """The costate at a sum is not the one at the product where the product is used twice."""

    class Twice(eqx.Module):
        weight: jax.Array
        bias: jax.Array

        def __call__(self, z):
            moved = self.weight @ z
            return jnp.tanh(moved + self.bias) * moved

    check(fm.wrap(Twice(floats(3, 5), floats(3))), floats(4, 5), [JoinedRows])


def test_weights_that_are_shaped_by_a_function_are_exact():
    """A weight that enters through a nonlinear function, or not at all, has the rows of the derivative."""

    class Positive(eqx.Module):
        raw: jax.Array
        unused: jax.Array
        held: jax.Array

        def __call__(self, z):
            return jax.nn.softplus(self.raw) @ z + jax.lax.stop_gradient(self.held)

    net = fm.wrap(Positive(floats(3, 5), floats(2), floats(3)))
    check(net, floats(4, 5), [DenseRows])
    factors, _ = net.linearise(floats(4, 5))[1](jnp.ones((4, 1, 3)))
    assert not np.asarray(factors[0].to_dense())[:, 15:].any()
    assert np.asarray(factors[0].to_dense())[:, :15].any()


def test_a_function_with_a_derivative_of_its_own_keeps_it():
    @jax.custom_vjp
    def straight(w, z):
        return jnp.round(w) @ z

    straight.defvjp(lambda w, z: (straight(w, z), (w, z)), lambda kept, g: (jnp.outer(g, kept[1]), kept[0].T @ g))

    class Rounded(eqx.Module):
        weight: jax.Array

        def __call__(self, z):
            return straight(self.weight, z)

    check(fm.wrap(Rounded(floats(3, 5))), floats(4, 5), [DenseRows])
