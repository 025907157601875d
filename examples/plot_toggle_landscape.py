"""
A gene switch is a gradient flow
================================

Two genes that repress each other make a switch: one is on, the other off. Gardner, Cantor and Collins built one in
*E. coli* (Nature 403, 339, 2000), and modelled it by

.. math::

    u' = \\frac{a_1}{1 + v^n} - u, \\qquad v' = \\frac{a_2}{1 + u^m} - v.

Nothing in these equations looks like a descent, and by the plain gradient it is none: the Jacobian is not symmetric. It
is one in another metric. Call the two rates of synthesis :math:`f(v)` and :math:`g(u)`. The metric

.. math::

    M(u, v) = \\mathrm{diag}(-g'(u), -f'(v))

counts a step by how strongly it changes the repression of the other gene, and the switch is exactly
:math:`M y' = -\\nabla V` with

.. math::

    V(u, v) = f(v)\\, g(u) - \\int_0^u s\\, g'(s)\\, \\mathrm{d}s - \\int_0^v s\\, f'(s)\\, \\mathrm{d}s.

So the switch has a landscape in which each cell only ever goes down, and a barrier for each of its two states. This
page checks each of these statements and draws them, with the parameters of the plasmid pTAK117 (BioModels,
BIOMD0000000507).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

flow = fm.bio.toggle_switch(156.25, 15.6, n=2.5, m=1.0)

# %%
# The two ways to write it agree
# ------------------------------
#
# ``flow`` integrates the plain right-hand side. Metric and potential are extras, so whether they belong to it can be
# asked: at two hundred states over four orders of magnitude, the right-hand side equals :math:`-M^{-1} \nabla V`.

low, high = {"u": 0.02, "v": 0.02}, {"u": 250.0, "v": 25.0}
rng = np.random.default_rng(507)
ys = {name: jnp.asarray(np.exp(rng.uniform(np.log(low[name]), np.log(high[name]), 200))) for name in low}


@jax.jit
@jax.vmap
def both(y):
    return flow.vector_field(0.0, y), fm.steepest_descent(flow.potential, flow.metric, y)[2]


plain, descent = both(ys)
error = max(float(jnp.max(jnp.abs(plain[name] - descent[name]))) for name in plain)
print(f"largest difference in a velocity: {error:.1e}")
assert error < 1e-9

# %%
# The landscape
# -------------
#
# Three fixed points: two states of the switch, and the pass between them. The potential ranges from 79 to above 2000
# and the barrier of the left state is 0.31, so ``landscape`` chooses its levels basin by basin. The ellipses are unit
# balls of the metric, on these axes: a direction in which they are short is a stiff one. Paths start at the open marks,
# and their colour says in which state they end.

equilibria = flow.equilibria()
print(equilibria)
(pass_between,) = equilibria.saddles
barriers = [pass_between.potential - point.potential for point in equilibria.stable]
np.testing.assert_allclose(sorted(barriers), [0.310417, 125.86313], atol=1e-5)

times = np.concatenate([[0.0], np.geomspace(1e-3, 40.0, 120)])
starts = {
    "u": jnp.array([0.15, 0.2, 0.15, 1.0, 8.0, 60.0, 200.0, 150.0, 20.0, 1.0]),
    "v": jnp.array([20.0, 7.0, 2.0, 0.3, 0.08, 0.5, 3.0, 20.0, 15.0, 8.0]),
}
paths = fm.ensemble(flow, starts, ts=times)
ax = fm.plot.landscape(flow, ({"u": 0.1, "v": 0.05}, high), paths, equilibria=equilibria, scale="log")

# %%
# No path ever rises by more than the rounding of a potential of this size, and both states are reached.

rises = np.diff(paths.potential, axis=1).max()
print(f"largest rise of the potential on any path: {rises:.1e}")
assert rises < 1e-9

for point in equilibria.stable:
    assert np.any(np.isclose(paths.ends["v"], point.state["v"], rtol=0.01))

# %%
# The energy ledger
# -----------------
#
# A gradient flow loses exactly what it dissipates,
#
# .. math::
#
#     V(y_0) - V(y(t)) = \int_0^t y'^\top M\, y' \,\mathrm{d}s.
#
# ``simulate`` integrates the right side next to the state. It takes the velocity as the equations give it and measures
# it in the metric, so the two sides agree only if metric and potential are those of this system. From (1, 8), next to
# the ridge, they agree on 0.2590878.

trajectory = fm.simulate(flow, {"u": 1.0, "v": 8.0}, t1=20.0, rtol=1e-9, atol=1e-12)
lost, dissipated = trajectory.potential[0] - trajectory.potential[-1], trajectory.dissipated[-1]
print(f"lost {lost:.9f}, dissipated {dissipated:.9f}")
np.testing.assert_allclose([lost, dissipated], 0.2590878, atol=5e-8)
assert np.abs(trajectory.ledger).max() < 1e-7

ax = fm.plot.ledger(trajectory)

# %%
# That the ledger closes is a check and no tautology: in a metric that is twice as large, the flow seems to dissipate
# twice what it loses.

wrong = fm.DiagonalMetric(lambda y, args: jax.tree.map(lambda leaf: 2 * leaf, flow.metric.fn(y, args)))
claim = fm.VectorField(flow.vector_field, wrong, flow.potential)
unbalanced = fm.simulate(claim, {"u": 1.0, "v": 8.0}, t1=20.0)
np.testing.assert_allclose(unbalanced.ledger[-1], -1.0, atol=1e-3)

# %%
# The same flow without its potential
# -----------------------------------
#
# What a textbook draws of the switch: the streamlines, and the two nullclines that cross at its three fixed points.

ax = fm.plot.phase_portrait(flow, ({"u": 0.1, "v": 0.05}, high), paths, equilibria, scale="log")
plt.show()
