"""A small function for each operation of JAX that a certificate can read, with how many numbers it takes."""

from functools import partial

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.scipy.linalg import lu_factor, lu_solve


@jax.custom_vjp
def _squared(x):
    return x**2


_squared.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))


def _symmetric(x):
    return jnp.outer(x, x) + 2 * jnp.eye(3)


def _lineax(x, solver):
    operator = lx.MatrixLinearOperator(_symmetric(x), lx.positive_semidefinite_tag)
    return lx.linear_solve(operator, x, solver).value


def _while(x):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x[:2]), (0, x[:2]))[1]


WHOLE = np.array([7, 2, 5])

FUNCTIONS = {
    "add": lambda x: x + 0.1,
    "add_any": jax.grad(lambda x: jnp.sum(x[0] * x) + x[0] ** 3),
    "sub": lambda x: 0.3 - x,
    "mul": lambda x: x * x[0] * 0.7,
    "div": lambda x: x / (2 + x[0]),
    "rem": lambda x: x * (jnp.asarray(WHOLE) % 3).astype(float),
    "neg": lambda x: -x,
    "abs": jnp.abs,
    "sign": lambda x: jnp.sign(x) * x,
    "max": lambda x: jnp.maximum(x, x[0]),
    "min": lambda x: jnp.minimum(x, 0.2),
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "log": lambda x: jnp.log(2 + x),
    "log1p": jnp.log1p,
    "tanh": jnp.tanh,
    "tan": jnp.tan,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "sinh": jnp.sinh,
    "cosh": jnp.cosh,
    "logistic": jax.nn.sigmoid,
    "sqrt": lambda x: jnp.sqrt(1.5 + x),
    "rsqrt": lambda x: lax.rsqrt(1.5 + x),
    "square": lax.square,
    "integer_pow": lambda x: x**3 + (2 + x) ** -2,
    "pow": lambda x: (2 + x) ** 2.5 + 3.0**x + (2 + x) ** x[0],
    "lt": lambda x: jnp.where(x < 0.1, x, 2 * x),
    "le": lambda x: jnp.where(x <= 0.1, x, 2 * x),
    "gt": lambda x: jnp.where(x > 0.1, x, 2 * x),
    "ge": lambda x: jnp.where(x >= 0.1, x, 2 * x),
    "eq": lambda x: jnp.where(x == 0.1, x, 2 * x),
    "ne": lambda x: jnp.where(x != 0.1, x, 2 * x),
    "and": lambda x: jnp.where((x > 0) & (x[0] > 0), x, 0.5),
    "or": lambda x: jnp.where((x > 0) | (x[0] > 0), x, 0.5),
    "not": lambda x: jnp.where(~(x > 0), x, 0.5),
    "xor": lambda x: jnp.where((x > 0) ^ (x[0] > 0), x, 0.5),
    "is_finite": lambda x: jnp.where(jnp.isfinite(x), x, 0.5),
    "clamp": lambda x: lax.clamp(-0.2, x, 0.3),
    "select_n": lambda x: lax.select_n((x > 0).astype(jnp.int32) + (x > 0.5).astype(jnp.int32), x, 2 * x, x**2),
    "convert_element_type": lambda x: jnp.sum((x > 0).astype(float)) * x,
    "reduce_sum": lambda x: jnp.sum(jnp.outer(x, x), axis=0),
    "reduce_prod": jnp.prod,
    "reduce_max": lambda x: jnp.max(jnp.outer(x, x), axis=1),
    "reduce_min": jnp.min,
    "reduce_and": lambda x: jnp.where(jnp.all(x > 0), x, 0.5),
    "reduce_or": lambda x: jnp.where(jnp.any(x > 0), x, 0.5),
    "cumsum": jnp.cumsum,
    "cumprod": lambda x: lax.cumprod(x, reverse=True),
    "cummax": lax.cummax,
    "cummin": lax.cummin,
    "dot_general": lambda x: jnp.einsum("bij,bjk->bik", jnp.outer(x, x)[None], jnp.ones((1, 3, 2)) * x[0]),
    "stop_gradient": lambda x: jax.nn.softmax(x),
    "copy": lambda x: jnp.array(x, copy=True) + 1,
    "name": lambda x: checkpoint_name(x * 2, "twice"),
    "optimization_barrier": lambda x: lax.optimization_barrier((x, 2 * x))[1],
    "reshape": lambda x: jnp.reshape(jnp.outer(x, x), (-1,)),
    "squeeze": lambda x: jnp.squeeze(jnp.outer(x, x)[:1]),
    "transpose": lambda x: jnp.outer(x, x**2).T,
    "rev": jnp.flip,
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x[None], (2, 3)),
    "concatenate": lambda x: jnp.concatenate([x, x[:1]]),
    "stack": lambda x: jnp.stack([x, 2 * x]),
    "unstack": lambda x: sum(jnp.unstack(x)),
    "split": lambda x: jnp.split(x, [1])[1],
    "tile": lambda x: jnp.tile(x, 2),
    "slice": lambda x: x[::2],
    "pad": lambda x: lax.pad(x, 0.5, [(1, -1, 1)]),
    "iota": lambda x: x * jnp.arange(3).astype(float),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (5,), (2,)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(jnp.zeros(3), x[:2], (1,)),
    "gather": lambda x: x[np.array([2, 0, 0])],
    "scatter": lambda x: x.at[np.array([2, 0])].set(0.5),
    "scatter-add": lambda x: x.at[np.array([2, 0, 2])].add(x),
    "jit": lambda x: jax.jit(jnp.sinh)(x),
    "remat2": lambda x: jax.checkpoint(jnp.sin)(x),
    "custom_jvp_call": jax.nn.relu,
    "custom_vjp_call": _squared,
    "platform_index": lambda x: jnp.diagonal(jnp.outer(x, x)),
    "cond": lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "scan": lambda x: lax.scan(lambda c, row: (c * row, c), x[0], x, reverse=True)[1],
    "while": _while,
    "custom_linear_solve": lambda x: lax.custom_linear_solve(lambda v: v * 2, x, lambda matvec, b: b / 2),
}
"""Those without a factorisation, which may be compiled together."""

SOLVES = {
    "cholesky": (lambda x: jnp.linalg.cholesky(_symmetric(x)), lambda a, x: np.linalg.cholesky(a)),
    "lu": (lambda x: jnp.linalg.inv(_symmetric(x)), lambda a, x: np.linalg.inv(a)),
    "lu_pivots_to_permutation": (lambda x: lu_solve(lu_factor(_symmetric(x)), x), np.linalg.solve),
    "triangular_solve": (
        lambda x: lax.linalg.triangular_solve(_symmetric(x), jnp.outer(x, x), lower=True),
        lambda a, x: np.linalg.solve(np.tril(a).T, np.outer(x, x).T).T,
    ),
    "linear_solve": (partial(_lineax, solver=lx.Cholesky()), np.linalg.solve),
    "nontraceable": (partial(_lineax, solver=lx.LU()), np.linalg.solve),
    "vprim": (
        lambda x: jax.vmap(partial(_lineax, solver=lx.LU()))(jnp.stack([x, x])),
        lambda a, x: np.stack([np.linalg.solve(a, x)] * 2),
    ),
    "unvmap_any": (lambda x: eqx.error_if(x, x[0] > 5, "too far"), lambda a, x: x),
    "unvmap_max": (
        lambda x: eqxi.branched_error_if(x, x > 5, (x > 7).astype(int), ["far", "too far"]),
        lambda a, x: x,
    ),
}
"""What holds factorisations or errors, with the result from `2 + x x^T` and `x` by NumPy."""

ALSO_KNOWN_AS = {"pjit": "jit", "closed_call": "jit", "remat": "remat2", "checkpoint": "remat2"}
"""Names that a primitive has in other versions of JAX, or where JAX itself makes the call."""
