"""The cost model where the answer is clear, and that it depends on nothing but shapes and precision."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from flowmod.linalg import AutodiffRows, DenseRows, JoinedRows, KhatriRaoRows, RepeatedRows, cheapest
from flowmod.linalg.cost import milliseconds


def affine(samples, outputs, n_out, n_in, dtype=jnp.float64):
    shapes = (samples, outputs, n_out), (samples, n_in)
    return jax.eval_shape(lambda: KhatriRaoRows(*(jnp.zeros(shape, dtype) for shape in shapes), True))


def scalars(dtype=jnp.float64):
    return jnp.ones((), dtype), jnp.ones((), dtype)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 1, 128, 128), "rows"),  # eight rows
        ((32, 10, 512, 512), "rows"),
        ((1797, 10, 128, 64), "conjugate_gradients"),  # 18,000 rows, 8,000 parameters
        ((512, 10, 128, 128), "conjugate_gradients"),
        ((1797, 10, 3, 4), "parameters"),  # fifteen of them
        ((20_000, 1, 1, 9), "parameters"),
    ],
)
def test_clear_cases(shape, expected, dtype):
    assert cheapest(affine(*shape, dtype=dtype), scalars(dtype)) == expected


def test_more_samples_never_make_the_side_of_the_rows_the_better_one():
    choices = [cheapest(affine(n, 10, 64, 64), scalars()) for n in (1, 4, 16, 64, 256, 1024, 4096)]
    assert choices[0] == "rows"
    assert choices[-1] == "conjugate_gradients"
    assert sum(a != b for a, b in itertools.pairwise(choices)) == 1


def test_times_add_up_over_layers():
    one, mass = affine(64, 10, 32, 32), scalars()
    repeated = jax.eval_shape(
        lambda: RepeatedRows(KhatriRaoRows(jnp.zeros((5, 64, 10, 32)), jnp.zeros((5, 64, 32)), True))
    )
    for way, time in milliseconds(one, mass).items():
        assert milliseconds(repeated, mass)[way] == pytest.approx(5 * time)
    joined = jax.eval_shape(
        lambda: JoinedRows(tuple(jax.tree.map(lambda s: jnp.zeros(s.shape), one) for _ in range(5)))
    )
    # All layers together have one Gram matrix to factorise, but one large matrix of parameters.
    assert milliseconds(joined, 5 * mass)["rows"] < 5 * milliseconds(one, mass)["rows"]
    assert milliseconds(joined, 5 * mass)["parameters"] > 20 * milliseconds(one, mass)["parameters"]


def test_a_mass_by_element_costs_the_side_of_the_rows_more():
    rows = affine(64, 10, 128, 128)
    by_element = jnp.ones((128, 128)), jnp.ones(128)
    by_output = jnp.ones((128, 1)), jnp.ones(128)
    times = [milliseconds(rows, mass)["rows"] for mass in (scalars(), by_output, by_element)]
    assert times[0] == times[1] < times[2] / 2
    assert cheapest(rows, scalars()) == "rows"
    assert cheapest(rows, by_element) == "conjugate_gradients"


def test_other_kinds_of_rows():
    mass = (jnp.ones(()),)
    few = DenseRows(jnp.ones((3, 2, 50)), ((50,),))
    many = DenseRows(jnp.ones((500, 2, 5)), ((5,),))
    generic = AutodiffRows(lambda part, z: z * part[0][:2], (jnp.ones(50),), jnp.ones((3, 1)), jnp.ones((3, 2, 2)))
    assert [cheapest(rows, mass) for rows in (few, many, generic)] == ["rows", "parameters", "rows"]


def test_the_choice_is_static():
    rows = KhatriRaoRows(jnp.ones((8, 1, 4)), jnp.ones((8, 4)), True)
    seen = []
    jax.jit(lambda rows, mass: seen.append(cheapest(rows, mass)))(rows, scalars())
    assert seen == [cheapest(rows, scalars())] == ["rows"]
