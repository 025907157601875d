"""Modules made of modules: residuals, branches, positions, attention. Their blocks are those of what they hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.linalg import KhatriRaoRows, blocks_of
from tests.linearisation import check_linearisation, ours


def linear(n_in, n_out, seed=0, **settings):
    return fm.Linear(n_in, n_out, key=jax.random.key(seed), **settings)


TANH = fm.Pointwise(jnp.tanh)

NETS = {
    "residual": (fm.Residual(linear(3, 5) >> TANH >> linear(5, 3, 1)), (3,)),
    "residual of no parameters": (linear(3, 2) >> fm.Residual(TANH), (3,)),
    "residual in a residual": (fm.Residual(linear(3, 3) >> fm.Residual(TANH >> linear(3, 3, 1))), (3,)),
    "branches": (fm.Parallel((linear(3, 2), linear(3, 4, 1) >> TANH, TANH)), (3,)),
    "branches of channels": (fm.Parallel((fm.Conv1d(2, 2, 1, key=jax.random.key(2)), TANH), axis=0), (2, 4)),
    "a sum of branches": (fm.Parallel((linear(3, 2), linear(3, 2, 1, use_bias=False)), join="sum"), (3,)),
    "positions": (fm.Each(linear(3, 2) >> TANH >> linear(2, 2, 1)), (4, 3)),
    "attention": (fm.Attention(4, 2, key=jax.random.key(3)), (3, 4)),
    "causal attention": (fm.Attention(4, 1, causal=True, use_bias=False, key=jax.random.key(3)), (3, 4)),
    "transformer": (
        fm.Residual(fm.Each(fm.LayerNorm(4)) >> fm.Attention(4, 2, key=jax.random.key(4)))
        >> fm.Residual(fm.Each(linear(4, 6) >> fm.Pointwise(jax.nn.gelu) >> linear(6, 4, 1))),
        (3, 4),
    ),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_linearisation(name, count, key):
    net, shape = NETS[name]
    check_linearisation(net, jax.random.normal(key, (count, *shape)))


def test_a_wrong_order_of_blocks_would_be_seen(key):
    """Negative control: the factors of two branches exchanged."""

    class Exchanged(fm.Residual):
        def linearise(self, inputs):
            outputs, pull = super().linearise(inputs)
            return outputs, lambda costates: (pull(costates)[0][::-1], pull(costates)[1])

    net = Exchanged(linear(3, 3) >> TANH >> linear(3, 3, 1))
    with pytest.raises(AssertionError):
        check_linearisation(net, jax.random.normal(key, (3, 3)))


def test_layers_keep_their_own_factors(key):
    net = fm.Residual(fm.Parallel((linear(4, 2), linear(4, 2, 1)))) >> linear(4, 2, 2)
    factors = check_linearisation(net, jax.random.normal(key, (3, 4)))
    assert [type(factor) for factor in factors] == [KhatriRaoRows] * 3
    assert blocks_of(eqx.filter(net, eqx.is_array)).names == (
        "layers.0.module.branches.0",
        "layers.0.module.branches.1",
        "layers.1",
    )


def test_attention_is_softmax_of_keys_and_queries(key):
    layer = fm.Attention(4, 2, causal=True, key=key)
    z = np.asarray(jax.random.normal(key, (3, 4)))
    query, keys, value = (
        z @ np.asarray(one.weight).T + np.asarray(one.bias) for one in (layer.query, layer.key, layer.value)
    )
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        scores = query[:, head] @ keys[:, head].T / np.sqrt(2)
        scores = np.exp(np.where(np.tril(np.ones((3, 3), bool)), scores, -np.inf))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, head])
    by_hand = np.concatenate(heads, axis=1) @ np.asarray(layer.output.weight).T + np.asarray(layer.output.bias)
    np.testing.assert_allclose(layer(z), by_hand, atol=1e-13)


def test_single_precision_is_not_widened(key):
    nets = (
        fm.Residual(linear(4, 4)),
        fm.Parallel((linear(4, 2), TANH)),
        fm.Each(linear(4, 4)),
        fm.Attention(4, 2, key=key),
    )
    for net in nets:
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
        shape = (3, 4) if isinstance(net, fm.Each | fm.Attention) else (4,)
        inputs = jax.random.normal(key, (2, *shape))
        outputs, _, _, rows, _ = ours(single, inputs)
        assert outputs.dtype == rows.dtype == jnp.float32
        np.testing.assert_allclose(outputs, jax.vmap(net)(inputs), atol=1e-5)


def test_refusals(key):
    with pytest.raises(ValueError, match="`module` must be a module of flowmod, got PjitFunction"):
        fm.Residual(jnp.tanh)
    with pytest.raises(ValueError, match=r"`Residual` needs a module .* got \(2,\) for \(3,\): use `fm.Parallel"):
        fm.Residual(linear(3, 2))(jnp.ones(3))
    with pytest.raises(ValueError, match=r"`Residual` needs a module"):
        fm.Residual(linear(3, 2)).linearise(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="`branches` must be a module of flowmod, got PjitFunction"):
        fm.Parallel((linear(3, 2), jnp.tanh))
    with pytest.raises(ValueError, match=r"`branches` must be a tuple of modules, got \(\)"):
        fm.Parallel(())
    with pytest.raises(ValueError, match="`join` must be one of concatenate, sum, got 'mean'"):
        fm.Parallel((TANH,), join="mean")
    with pytest.raises(ValueError, match=r"have equal shapes to sum them, got \[\(2,\), \(3,\)\]"):
        fm.Parallel((linear(3, 2), TANH), join="sum")(jnp.ones(3))
    with pytest.raises(ValueError, match=r"equal shapes but for axis -1 to concatenate them, got \[\(6,\), \(2, 3\)\]"):
        fm.Parallel((fm.Flatten(), TANH))(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="`Each` needs samples with a first axis to go along"):
        fm.Each(TANH)(jnp.asarray(1.0))
    with pytest.raises(ValueError, match="`heads` must divide the 4 numbers of a position, got 3"):
        fm.Attention(4, 3, key=key)
    with pytest.raises(ValueError, match=r"`Attention\(4, 2\)` needs samples of shape \(S, 4\), got \(4,\)"):
        fm.Attention(4, 2, key=key)(jnp.ones(4))
