"""
A convolution learns digits
===========================

A convolution applies one kernel at many places, so that a row of its layerwise metric is a *sum* of outer products over
these places. Nobody has to say so: flowmod traces the module, finds the convolution, and prints what it found. The step
is exact, as for dense layers.
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
# The network
# -----------

digits = load_digits()
order = np.random.default_rng(1).permutation(len(digits.target))
images, labels = digits.images[order][:, None] / 16, digits.target[order]  # (N, 1, 8, 8), channels first
train, test = slice(0, 100), slice(1437, 1797)

k1, k2 = jax.random.split(jax.random.key(2))
net = (
    fm.Conv2d(1, 6, 3, key=k1)
    >> fm.Pointwise(jnp.tanh)
    >> fm.AvgPool2d(2)
    >> fm.Flatten()
    >> fm.Linear(6 * 3 * 3, 10, key=k2)
)
print(net.plan(images[0]))

# %%
# Two trainings
# -------------

problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), images[train], labels[train])


def observe(t, net, args):
    return {"test_accuracy": jnp.mean(jnp.argmax(jax.vmap(net)(images[test]), axis=1) == labels[test])}


flows = {
    "Euclidean": fm.GradientFlow(problem),
    "layerwise": fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1)),
}
runs = {
    name: fm.simulate(flow, net, ts=np.linspace(0, 10, 41), observe=observe, rtol=1e-4) for name, flow in flows.items()
}

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, run in runs.items():
    left.semilogy(run.ts, run.potential, label=name)
    right.plot(run.ts, run.observed["test_accuracy"], label=name)
left.set(xlabel="flow time", ylabel="training loss")
right.set(xlabel="flow time", ylabel="accuracy on 360 other images", ylim=(0, 1))
left.legend(frameon=False)
plt.show()

# %%
# The kernels
# -----------
#
# The same weights at the start and at the end, in the layerwise metric.

last = runs["layerwise"].ys.layers[0].weight[-1]
fig, axes = plt.subplots(2, 6, figsize=(8, 2.8), layout="constrained")
for row, kernels in zip(axes, (net.layers[0].weight, last), strict=True):
    for ax, kernel in zip(row, kernels, strict=True):
        ax.imshow(kernel[0], cmap="RdBu", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("start")
axes[1, 0].set_ylabel("end")
plt.show()

assert runs["layerwise"].potential[-1] < runs["Euclidean"].potential[-1]
assert runs["layerwise"].observed["test_accuracy"][-1] > 0.8
