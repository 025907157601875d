"""
A metric against momentum
=========================

Gradient descent is slow where the loss is steep in one direction and flat in another. There are two cures. *Momentum*
remembers: the heavy ball needs a number of steps proportional to the root of the condition number instead of the
condition number itself. A *metric* changes what steep means: in the metric of the outputs' own information the
condition number is small, and plain Euler steps are fast. ``fm.optimal_step`` predicts how fast each can be, and the
runs agree.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A regression
# ------------
#
# Three digits from images of 4 by 4, linear regression on their labels with a little weight decay: one minimum, which
# the flow in the layerwise metric finds, and the same curvature everywhere.

digits = load_digits()
some = np.flatnonzero(digits.target < 3)[:90]
images = digits.images[some].reshape(90, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(90, 16) / 16

decay = 1e-3
net = fm.Linear(16, 3, key=jax.random.key(0))
labels = np.eye(3)[digits.target[some]]
problem = fm.Supervised(net, fm.MeanSquaredError(), images, labels, regularizer=fm.WeightDecay(decay))
euclidean = fm.GradientFlow(problem)
layerwise = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=10 * decay))

run = fm.simulate(layerwise, net, t1=400.0, ts=[0.0, 400.0], rtol=1e-9)
minimum = jax.tree.map(lambda leaf: leaf[-1], run.ys)

# %%
# What is predicted
# -----------------

plans = {
    "gradient descent": (euclidean, fm.optimal_step(euclidean, minimum)),
    "heavy ball": (euclidean, fm.optimal_step(euclidean, minimum, "heavy_ball")),
    "Euler in the layerwise metric": (layerwise, fm.optimal_step(layerwise, minimum)),
}
for name, (_, plan) in plans.items():
    print(f"{name}: {plan}")

# %%
# What happens
# ------------
#
# In the long run the gap of the loss falls by the square of the factor in each step. At first the heavy ball climbs a
# hundredfold: its best momentum makes two roots of its recursion equal, whose powers grow by the number of steps before
# they decay. And its best step is just below its limit, so that a loss with more curvature elsewhere than at the
# minimum asks for a smaller one.

counts = {"gradient descent": 2000, "heavy ball": 300, "Euler in the layerwise metric": 60}


def gaps(flow, plan, count):
    """The loss above its minimum along the steps of an optimizer."""
    optimizer = fm.discretize(flow, plan.step_size, plan.method, momentum=plan.momentum)

    def step(carry, _):
        y, state = carry
        value, gradient = jax.value_and_grad(problem)(y, None)
        updates, state = optimizer.update(gradient, state, y)
        return (jax.tree.map(jnp.add, y, updates), state), value

    losses = jax.lax.scan(step, (net, optimizer.init(net)), length=count)[1]
    return losses - problem(minimum, None)


figure, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
for (name, (flow, plan)), colour in zip(plans.items(), ["#0072B2", "#E69F00", "#009E73"], strict=True):
    found = gaps(flow, plan, counts[name])
    steps = np.arange(len(found))
    ax.semilogy(steps, found, color=colour, label=name, linewidth=1.4)
    middle = len(found) // 2
    ax.semilogy(steps[middle:], found[middle] * plan.factor ** (2.0 * (steps[middle:] - middle)), "k:", linewidth=1.4)
    measured = (found[-1] / found[middle]) ** (0.5 / (len(found) - 1 - middle))
    print(f"{name}: predicted {plan.factor:.4f}, measured {measured:.4f}")
    np.testing.assert_allclose(1 - measured, 1 - plan.factor, rtol=0.3)
ax.plot([], [], "k:", label="predicted slope")
ax.set(xlabel="step", ylabel="loss above its minimum", xlim=(0, 300), ylim=(1e-12, None))
ax.legend(frameon=False)
plt.show()
