"""
A rate that is negative, and what that means
============================================

A flow contracts if all neighbouring runs approach each other, at a rate that says how fast. Softmax regression with
weight decay does: its loss is convex, and its rate in its own metric is :math:`\\nu / \\mu`, weight decay over mass.
Two runs from anywhere end in the same weights.

A network with a hidden layer has a *negative* rate on most of its way, with the same loss, weight decay and metric. The
loss falls all the same, and the ledger closes. What the sign says is that two runs side by side may part, and they have
a good reason: exchange two hidden units with all their weights, and the network computes what it did before. So each
minimum has mirror images. A flow that contracted between them would have to bring them together, and on the ridge
between two of them neighbours must part. This page shows them do it, at the speed that the rate predicts.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# The data
# --------
#
# 30 images of the digits 0, 1 and 2, at a resolution of 4 by 4.

digits = load_digits()
some = np.flatnonzero(digits.target < 3)[:30]
images = digits.images[some].reshape(30, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(30, 16) / 16
labels = digits.target[some]
DECAY, MASS = 0.01, 0.1


def flow_of(module):
    problem = fm.Supervised(module, fm.SoftmaxCrossEntropy(), images, labels, regularizer=fm.WeightDecay(DECAY))
    return fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=MASS))


def apart(flow, here, there):
    """The distance of two runs at each time, in the flow's metric at the first of them."""
    metric = flow.metric
    return np.asarray(jax.vmap(lambda a, b: metric.norm(a, jax.tree.map(jnp.subtract, a, b)))(here.ys, there.ys))


def state_at(run, place):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), run.ys)


# %%
# Softmax regression contracts
# ----------------------------
#
# Its rate is :math:`\nu / \mu = 0.1` all along. The direction that sets it is known: to add the same vector to the
# weights of all classes changes no probability, so that only weight decay and mass act on it. Twins that differ in it
# approach each other at exactly that rate, the dashed line, and others faster.

regression = fm.Linear(16, 3, key=jax.random.key(0))
flow = flow_of(regression)
times = np.linspace(0.0, 40.0, 81)
run = fm.simulate(flow, regression, ts=times, rtol=1e-9, atol=1e-12)
for place in (0, 1, 20, 80):
    np.testing.assert_allclose(fm.contraction_rate(flow, state_at(run, place)), DECAY / MASS, rtol=1e-6)

directions = [jnp.ones((3, 1)), *jax.random.normal(jax.random.key(1), (3, 3, 16))]
distances = []
for direction in directions:
    twin = eqx.tree_at(lambda module: module.weight, regression, regression.weight + 1e-2 * direction)
    distances.append(apart(flow, run, fm.simulate(flow, twin, ts=times, rtol=1e-9, atol=1e-12)))
idle, *others = (distance / distance[0] for distance in distances)
np.testing.assert_allclose(idle, np.exp(-DECAY / MASS * times), rtol=1e-4)
assert all(np.all(other[1:] < idle[1:]) for other in others)
ax = fm.plot.twins(times, distances[1:], DECAY / MASS)

# %%
# A network does not
# ------------------
#
# A network 16-4-3 whose first two hidden units are the same, but for a difference of a thousandth. Its mirror image has
# the two exchanged. The losses of the two runs agree to the last digits, and fall.

k1, k2 = jax.random.split(jax.random.key(1))
net = fm.Linear(16, 4, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(4, 3, key=k2)


def weights(net):
    return net.layers[0].weight, net.layers[0].bias, net.layers[2].weight


def exchange(net):
    first, bias, last = weights(net)
    order = jnp.array([1, 0, 2, 3])
    return eqx.tree_at(weights, net, (first[order], bias[order], last[:, order]))


first, bias, last = weights(net)
difference = 1e-3 * jax.random.normal(jax.random.key(5), (16,))
equal = (first.at[1].set(first[0]).at[0].add(difference), bias.at[1].set(bias[0]), last.at[:, 1].set(last[:, 0]))
one = eqx.tree_at(weights, net, equal)

flow = flow_of(net)
times = np.linspace(0.0, 300.0, 61)
here, there = (fm.simulate(flow, start, ts=times, rtol=1e-8, atol=1e-11) for start in (one, exchange(one)))
print(f"loss {here.potential[0]:.4f} to {here.potential[-1]:.4f}, ledger {np.abs(here.ledger).max():.1e}")
np.testing.assert_allclose(here.potential, there.potential, rtol=1e-9)
assert np.diff(here.potential).max() <= 1e-12
assert np.abs(here.ledger).max() < 1e-6

# %%
# The rate is negative, and the twins part
# ----------------------------------------
#
# From -2 at the start the rate comes up to a few hundredths below zero. The loss seems to be done by then, and the
# twins only begin: for a long time their distance grows by exactly what the rate allows, so that what they differ in is
# the leading direction, until each has found a minimum of its own. The two minima are mirror images of each other, and
# in each of them the rate is positive. So the negative rate was no error and no bad metric: a rate that had been
# positive all the way, between the twins too, would have been wrong.

places = np.array([0, 1, 2, 4, 8, 14, 20, 26, 32, 38, 44, 52, 60])
rates = np.array([fm.contraction_rate(flow, state_at(here, place), method="lanczos") for place in places])
distance = apart(flow, here, there)
growth = np.gradient(np.log(distance), times)[places]
print(np.round(rates, 4), np.round(-growth, 4), np.round(distance[places], 4), sep="\n")
assert rates[0] < -2
assert np.all(rates[:9] < 0)
np.testing.assert_allclose(growth[4:7], -rates[4:7], rtol=0.03)
assert rates[-1] > 0.02
assert distance[-1] > 500 * distance[0]
for ours, theirs in zip(weights(exchange(state_at(here, -1))), weights(state_at(there, -1)), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)

figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8), layout="constrained")
left.axhline(0.0, color="0.3", linewidth=0.8)
left.plot(times[places], rates, "o-", color="#0072B2", markersize=3, linewidth=1.4, label="contraction rate")
left.plot(times[places], -growth, "--", color="#D55E00", linewidth=1.4, label="decay of the twins' distance")
left.set(xlabel="flow time", ylabel="rate (1/time)", ylim=(-0.09, 0.04))
left.legend(frameon=False, loc="lower right")
right.semilogy(times, distance, color="#D55E00", linewidth=1.4, label="distance of the twins")
right.semilogy(times, here.potential, color="#0072B2", linewidth=1.4, label="loss of both")
right.set(xlabel="flow time")
right.legend(frameon=False, loc="lower right")
plt.show()
