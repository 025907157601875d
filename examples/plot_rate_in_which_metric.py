"""
How fast does it contract? In which metric?
===========================================

A flow contracts if all neighbouring trajectories approach each other, and its rate says how fast. Neighbouring, fast:
both are measured by a metric, and the answer is about the pair of flow and metric. Rosenbrock's valley,
:math:`f = \\tfrac12 |r|^2` with :math:`r = (1 - x,\\; 10\\, (y - x^2))`, shows how much depends on it.

In the metric :math:`M = J^\\top J` that the residuals :math:`r` pull back (:math:`J` is their Jacobian), the gradient
flow is the Gauss-Newton flow :math:`y' = -J^{-1} r`. On it :math:`r' = -r`, so all residuals decay like :math:`e^{-t}`,
from everywhere and straight to the minimum. The metric is flat, being the Euclidean one of :math:`r`, and in it the
rate is exactly 1 at every state. Measured with a ruler on the page, the same trajectories part from each other in half
of the picture, and :math:`f` is not even convex.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160


def residual(y):
    return jnp.stack([1 - y["x"], 10 * (y["y"] - y["x"] ** 2)])


def rosenbrock(y, args):
    return jnp.sum(residual(y) ** 2) / 2


def pulled_back(y, args):
    jacobian = jax.jacfwd(residual)(y)
    rows = jnp.stack([jacobian["x"], jacobian["y"]], axis=1)
    return rows.T @ rows


metric = fm.DenseMetric(pulled_back)
flow = fm.GradientFlow(rosenbrock, metric)
box = ({"x": -1.5, "y": -0.5}, {"x": 1.5, "y": 2.0})

# %%
# Not convex, and contracting
# ---------------------------
#
# For a gradient flow in the Euclidean metric the rate is the smallest eigenvalue of the Hessian. At (0.3, 0.8) it is
# -121.27: two runs of plain gradient descent that start there, one beside the other, part at once. So it is everywhere
# above the black line, the parabola :math:`y = x^2 + 1/200`. In the pulled-back metric, the rate of the Gauss-Newton
# flow at (0.3, 0.8) is 1.

place = {"x": jnp.asarray(0.3), "y": jnp.asarray(0.8)}
plain = fm.GradientFlow(rosenbrock)
np.testing.assert_allclose(fm.contraction_rate(plain, place), -121.27, atol=5e-3)
np.testing.assert_allclose(fm.contraction_rate(flow, place), 1.0, atol=1e-9)

ax = fm.plot.rate_map(plain, box)
(zero,) = (line for line in ax.lines if line.get_label() == "rate = 0")
x, y = zero.get_xydata()[np.isfinite(zero.get_xdata())].T
np.testing.assert_allclose(y, x**2 + 1 / 200, atol=1e-3)

# %%
# One flow, two rulers
# --------------------
#
# The Gauss-Newton flow alone, measured in the Euclidean metric and in its own. Written out it is :math:`x' = 1 - x`,
# :math:`y' = x\,(2 - x) - y`, so its Euclidean rate is :math:`1 - |1 - x|`: left of the black line neighbours part, and
# nothing on that map would tell that they all arrive. In its own metric the rate is 1 on the whole map.

figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.9), layout="constrained", sharey=True)
fm.plot.rate_map(flow, box, metric=fm.Euclidean(), limit=3.0, ax=left)
fm.plot.rate_map(flow, box, limit=3.0, ax=right)
left.set_title("Gauss-Newton flow, Euclidean metric", fontsize="medium")
right.set_title("Gauss-Newton flow, its own metric", fontsize="medium")
right.set_ylabel("")

euclidean, own = (ax.collections[0].get_array() for ax in (left, right))
x = np.linspace(-1.5, 1.5, 2 * euclidean.shape[1] + 1)[1::2]
print(f"Euclidean: {euclidean.min():.2f} to {euclidean.max():.2f}; own: 1 within {np.abs(own - 1).max():.0e}")
np.testing.assert_allclose(euclidean, np.broadcast_to(1 - np.abs(1 - x), euclidean.shape), atol=1e-9)
np.testing.assert_allclose(own, 1.0, atol=1e-8)

# %%
# The descent
# -----------
#
# Paths in the landscape. The ellipses are unit balls of the metric, and where they are thin it knows about the valley:
# a step across it costs much. In the coordinates :math:`r` each path would be a straight line.

starts = {"x": jnp.array([-1.2, -0.3, 1.2, 0.3]), "y": jnp.array([1.0, 1.8, -0.2, 0.8])}
runs = fm.ensemble(flow, starts, ts=np.linspace(0.0, 12.0, 241), rtol=1e-9, atol=1e-12)
ax = fm.plot.landscape(flow, box, runs)

residuals = np.array(jax.vmap(jax.vmap(residual))(runs.ys))
expected = residuals[:, :1] * np.exp(-runs.ts)[None, :, None]
np.testing.assert_allclose(residuals, expected, atol=1e-7 * np.abs(residuals).max())

# %%
# The rate along one run
# ----------------------
#
# In the metric of the flow the rate is a promise that the run keeps: its residual decays like :math:`e^{-t}`. In the
# Euclidean metric the rate of the same run is negative at first, which refutes nothing: it is a statement about the
# ruler.

run = runs[0]
in_own = fm.contraction_rate(flow, run)
in_euclidean = fm.contraction_rate(flow, run, metric=fm.Euclidean())
assert in_euclidean[0] < 0 < in_euclidean[-1]
np.testing.assert_allclose(in_own, 1.0, atol=1e-8)

figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.6), layout="constrained")
fm.plot.rate(run, in_euclidean, ax=left)
left.plot(run.ts, in_own, "k--", linewidth=1.2)
left.legend(left.lines[-2:], ["in the Euclidean metric", "in its own metric"], frameon=False, loc="lower right")
right.semilogy(runs.ts, np.linalg.norm(residuals, axis=-1).T, color="#0072B2", linewidth=1.4)
right.semilogy(runs.ts, np.exp(-runs.ts), "k--", linewidth=1.2, label=r"$e^{-t}$")
right.set(xlabel="time", ylabel="size of the residual")
right.legend(frameon=False)
plt.show()
