"""
Where a step size is stable, and what happens beyond
====================================================

A step size is not just stable or not. Below its limit gradient descent converges. Just above, on a loss that does not
grow too fast, it goes round a cycle of two iterates; the period doubles again and again; then there is none, and at
last the run diverges. ``fm.stability_map`` runs an optimizer for every pair of a step size and another number, in one
program, and ``fm.step_limit`` says where the first of these borders is.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# Momentum
# --------
#
# A loss that is steep in one direction and rounds off far away. The limit of the heavy ball is
# :math:`2(1 + \beta)/\lambda`, the dashed line: momentum raises it, to twice that of gradient descent at most. It is
# about the neighbourhood of the minimum. With much momentum a cycle further out is stable already below the limit, and
# a start that is not near the minimum, as this one, may end there.


def loss(y, args):
    return 0.5 * y[0] ** 2 + jnp.log(jnp.cosh(3 * y[1])) + 0.1 * jnp.sin(y[0]) * y[1]


flow = fm.GradientFlow(loss)
start = jnp.array([0.4, 0.3])
steps = np.geomspace(0.05, 2.0, 60)
heavy_ball = fm.stability_map(
    lambda h, beta: fm.discretize(flow, h, "heavy_ball", momentum=beta),
    start,
    steps,
    momentum=np.linspace(0.0, 0.95, 40),
    updates=1500,
)
fm.plot.stability_map(heavy_ball, ax=plt.figure(figsize=(5.4, 3.4), layout="constrained").subplots())
plt.show()

limits, fates = heavy_ball["predicted_limit"].values, heavy_ball["fate"].values
settled = np.isin(fates, ["converged", "converging"])
little = heavy_ball["momentum"].values < 0.7
np.testing.assert_array_equal(settled[:, little], (steps[:, None] < limits)[:, little])
assert not settled[steps[:, None] > limits].any()

# %%
# The road to chaos
# -----------------
#
# What gradient descent settles on, for a loss whose step is the logistic map's: the limit is where one branch becomes
# two.


def cubic(y, args):
    return y[0] ** 2 / 2 - y[0] ** 3 / 3


branches = fm.bifurcation(
    fm.GradientFlow(cubic),
    jnp.array([0.3]),
    np.linspace(1.6, 3.0, 500),
    observe=lambda y, args: y[0],
    transient=1000,
)
fm.plot.bifurcation(branches, ax=plt.figure(figsize=(5.4, 3.4), layout="constrained").subplots())
plt.show()
