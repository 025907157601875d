"""
The flow that an optimizer really follows
=========================================

Euler's method with the step size :math:`h` stays within :math:`O(h)` of its flow. It stays within :math:`O(h^2)` of
another one, the *modified flow*, and within :math:`O(h^3)` of that with one more term. The slopes of the lines say so,
for straight steps in a metric that depends on the state.

For a flat metric the first modified flow is the gradient flow of a modified loss,
:math:`f + \\frac h4 |\\nabla f|^2`: gradient descent regularises. In a curved one it is tempting to write the same with
:math:`M^{-1}` inside. The grey line shows that this explains nothing: without the term :math:`\\frac h2 \\Gamma(v, v)`
of the coordinates the slope stays 1. It is right for steps along the geodesics.
"""

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A potential and a metric
# ------------------------


def potential(y, args=None):
    x, z = y
    return 0.5 * x**2 + z**2 + 0.3 * x**2 * z**2 + 0.2 * x * z


def mass(y, args=None):
    x, z = y
    return jnp.array([[1.5 + z**2, 0.4 * x], [0.4 * x, 1 + 0.5 * x**2]])


flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
y0 = jnp.array([1.1, 0.8])
t1 = 1.0


@functools.partial(jax.jit, static_argnums=1)
def run(count, method):
    """The end of `count` steps until `t1`."""
    optimizer = fm.discretize(flow, t1 / count, method)

    def step(_, carry):
        y, state = carry
        updates, state = optimizer.update(jax.grad(potential)(y), state, y)
        return y + updates, state

    return jax.lax.fori_loop(0, count, step, (y0, optimizer.init(y0)))[0]


def end(of, h):
    return fm.simulate(of, y0, t1, ts=[0.0, t1], args=h, rtol=1e-11, atol=1e-13).ys[-1]


def gaps(candidates, method):
    """Distances at `t1` between the steps of a method and the flow made by each function of the step size."""
    ends = [run(count, method) for count in counts]
    return {
        name: [float(jnp.linalg.norm(there - end(make(h), h))) for there, h in zip(ends, steps, strict=True)]
        for name, make in candidates.items()
    }


# %%
# Straight steps
# --------------

counts = np.array([40, 80, 160, 320])
steps = t1 / counts


def regularised(y, h):
    """Barrett and Dherin's modified loss with the metric in it; the step size is handed to it."""
    g = jax.grad(potential)(y)
    return potential(y) + h / 4 * g @ jnp.linalg.solve(mass(y), g)


covariant = fm.GradientFlow(regularised, flow.metric)

straight = gaps(
    {
        "the flow": lambda h: flow,
        "modified loss, without the coordinates' term": lambda h: covariant,
        "first modified flow": lambda h: fm.modified_flow(flow, h),
        "second modified flow": lambda h: fm.modified_flow(flow, h, order=2),
    },
    "euler",
)
along_geodesics = gaps({"geodesic steps, modified loss": lambda h: covariant}, "geodesic")


def slope(errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


figure, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
colours = ["#0072B2", "#999999", "#009E73", "#D55E00", "#CC79A7"]
for (name, errors), colour in zip((straight | along_geodesics).items(), colours, strict=True):
    ax.loglog(steps, errors, "o-", color=colour, label=f"{name}: slope {slope(errors):.2f}", markersize=4)
ax.set(xlabel="step size", ylabel="distance at $t = 1$ from ...")
ax.set_xticks(steps, [f"1/{n}" for n in counts])
ax.minorticks_off()
figure.legend(fontsize="small", frameon=False, loc="outside upper left")
plt.show()

slopes = [slope(errors) for errors in straight.values()]
np.testing.assert_allclose(slopes, [1, 1, 2, 3], atol=0.1)
np.testing.assert_allclose(slope(along_geodesics["geodesic steps, modified loss"]), 2, atol=0.05)
