"""Flows that several tests share, as data: small, state dependent, off-diagonal."""

import jax.numpy as jnp

import flowmod as fm

BIOMD507 = {"a1": 156.25, "a2": 15.6, "n": 2.5, "m": 1.0}


def toggle():
    return fm.bio.toggle_switch(**BIOMD507)


def arm_mass(q, args):
    """The mass matrix of a double pendulum: off-diagonal and state dependent."""
    c = jnp.cos(q[1])
    return jnp.stack([jnp.stack([3 + 2 * c, 1 + c]), jnp.stack([1 + c, jnp.ones_like(c)])])


def arm_potential(q, args):
    return 2 * (1 - jnp.cos(q[0])) + (1 - jnp.cos(q[0] + q[1])) + 0.15 * jnp.sum(q**2)


def generic_mass(y, args):
    """The off-diagonal metric of oracle o24: [[1 + x^2, xy/5], [xy/5, 2 + sin(x + y)]]."""
    off = y[0] * y[1] / 5
    return jnp.stack([jnp.stack([1 + y[0] ** 2, off]), jnp.stack([off, 2 + jnp.sin(y[0] + y[1])])])


def generic_potential(y, args):
    return y[0] ** 4 / 4 + jnp.cos(y[1]) + y[0] * y[1]


def exponential_mass(y, args):
    """Three-dimensional, far from diagonal: A(y)^T A(y) + 0.3 I."""
    a = jnp.stack(
        [
            jnp.stack([jnp.exp(0.2 * y[0]), 0.5 * y[1], jnp.sin(y[2])]),
            jnp.stack([0.3 * y[2], 1 + 0.1 * y[1] ** 2, 0.4 * jnp.cos(y[0])]),
            jnp.stack([0.2 * y[1], -0.3 * y[0], 1.5 + 0 * y[0]]),
        ]
    )
    return a.T @ a + 0.3 * jnp.eye(3, dtype=a.dtype)


def bowl(y, args):
    """Strictly convex and not quadratic, in any dimension."""
    return jnp.sum(jnp.cosh(y)) + 0.25 * jnp.sum(y) ** 2


def rosenbrock_residual(y):
    return jnp.stack([1 - y[0], 10 * (y[1] - y[0] ** 2)])


def rosenbrock(y, args):
    return jnp.sum(rosenbrock_residual(y) ** 2) / 2


STATE_DEPENDENT = {
    "arm": (arm_potential, arm_mass, [1.0, -0.6]),
    "generic": (generic_potential, generic_mass, [0.7, -0.4]),
    "exponential": (bowl, exponential_mass, [0.9, -1.1, 0.6]),
}
"""Potential, mass and start of three gradient flows in dense, off-diagonal, state-dependent metrics."""
