"""
The same flow in other weights
==============================

How the weights of a network are written down should not matter for what it learns. Write each weight as the ``sinh``
of another number, and the function is the same; its Euclidean gradient flow is not. The layerwise metric transforms
with the weights, up to its mass: with a small mass, and more samples than weights, the *function* takes the same path.
(The mass counts weights as they are written: it would have to be transformed too.)

Euler's steps are straight in the weights as they are written, and lose some of it: the two ways to write them differ by
an error in proportion to the step.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A network, written in two ways
# ------------------------------
#
# ``Bent`` is a linear layer whose matrix is ``sinh(bend w) / bend``: another coordinate for each weight.


class Bent(fm.AbstractModule):
    """`z -> sinh(bend w) / bend z`."""

    weight: jax.Array
    bend: float = eqx.field(static=True)

    def __call__(self, z):
        return jnp.sinh(self.bend * self.weight) / self.bend @ z


keys = jax.random.split(jax.random.key(1), 4)
W1, W2 = jax.random.normal(keys[0], (3, 2)), jax.random.normal(keys[1], (1, 3))
inputs = jax.random.normal(keys[2], (60, 2))
targets = jnp.tanh(inputs @ (W1 + jax.random.normal(keys[3], W1.shape) / 4).T) @ (1.3 * W2.T)


def network(bend):
    """The same function for each bend."""
    first, second = (Bent(jnp.arcsinh(bend * W) / bend, bend) for W in (W1, W2))
    return first >> fm.Pointwise(jnp.tanh) >> second


nets = {"as they are": network(1e-3), "bent": network(1.0)}
problems = {name: fm.Supervised(net, fm.MeanSquaredError(), inputs, targets) for name, net in nets.items()}
start = [float(problem(nets[name])) for name, problem in problems.items()]
print("losses at the start:", start)

# %%
# Two flows in two coordinates
# ----------------------------

ts = np.linspace(0, 2, 21)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
ends = {}
for ax, metric in zip(axes, ("Euclidean", "layerwise, mass 1e-10"), strict=True):
    for (name, net), style in zip(nets.items(), ("-", "--"), strict=True):
        problem = problems[name]
        own = fm.Euclidean() if metric == "Euclidean" else fm.LayerwiseMetric.of(problem, mass=1e-10)
        run = fm.simulate(fm.GradientFlow(problem, own), net, ts=ts, rtol=1e-10)
        ends[metric, name] = run.potential
        ax.semilogy(run.ts, run.potential, style, label=f"weights {name}")
    ax.set(title=metric, xlabel="flow time")
    ax.legend(frameon=False)
axes[0].set_ylabel("loss")
plt.show()

# %%
# Euler's error is one of the step
# --------------------------------


def euler(name, step_size, t1=1.0):
    """The outputs of a network after Euler's steps in its layerwise metric."""
    problem, net = problems[name], nets[name]
    metric = fm.LayerwiseMetric.of(problem, mass=1e-10)

    def step(y, _):
        return eqx.apply_updates(
            y, jax.tree.map(lambda v: step_size * v, fm.steepest_descent(problem, metric, y)[2])
        ), 0

    last, _ = jax.lax.scan(step, net, length=round(t1 / step_size))
    return jax.vmap(last)(inputs)


def difference(ys):
    return float(jnp.abs(ys[0] - ys[1]).max())


gaps = {metric: difference([ends[metric, name] for name in nets]) for metric in ("Euclidean", "layerwise, mass 1e-10")}
print("largest difference of the losses of the two flows:", gaps)
steps = np.array([0.02, 0.01, 0.005, 0.0025])
errors = [difference([euler(name, h) for name in nets]) for h in steps]
print("and of the outputs after Euler's steps:", dict(zip(steps.tolist(), errors, strict=True)))

assert gaps["layerwise, mass 1e-10"] < 1e-4 < gaps["Euclidean"]
order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
assert 0.8 < order < 1.3, order
