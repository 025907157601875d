"""
A flow and its optimizers
=========================

Most optimizers are a flow, taken in steps. Gradient descent is Euler's method for the Euclidean flow and the layerwise
step is Euler's method for the layerwise flow. As the step size :math:`h` goes to zero they come to the flow like
:math:`h`, Heun's method like :math:`h^2`. Adam is at home in neither: its distance from the flow stays, however small
its steps are.

At the other end a step may be too large. At a minimum Euler's method is stable below :math:`2/\\lambda`, where
:math:`\\lambda` is the largest eigenvalue of :math:`M^{-1} H`. ``fm.step_limit`` predicts it from products alone, and
``fm.compare`` runs every optimizer at every step size beside the flow, on one clock, and tells what became of it.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A small network
# ---------------
#
# 16-4-3, on 30 images of the digits 0, 1 and 2 at a resolution of 4 by 4, with weight decay.

digits = load_digits()
some = np.flatnonzero(digits.target < 3)[:30]
images = digits.images[some].reshape(30, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(30, 16) / 16

k1, k2 = jax.random.split(jax.random.key(1))
net = fm.Linear(16, 4, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(4, 3, key=k2)
decay = fm.WeightDecay(1e-2)
problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), images, digits.target[some], regularizer=decay)

# %%
# The layerwise flow
# ------------------
#
# ``fm.discretize`` makes an optax optimizer of a gradient flow. The slopes of the two lines are the orders of the two
# methods. The dotted line is the smallest step limit along the flow, that of its start: below it all is well, and
# above it runs survive as long as they soon leave the region that it is about.


def discretized(method):
    return lambda step_size: fm.discretize(layerwise, step_size, method)


def draw(table):
    ax = plt.figure(figsize=(5.4, 3.0), layout="constrained").subplots()
    return fm.plot.comparison(table, ax=ax)


layerwise = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
methods = {"Euler": discretized("euler"), "Heun": discretized("heun")}
steps = np.geomspace(0.02, 4.0, 10)
own = fm.compare(layerwise, methods, net, steps, t1=4.0)

np.testing.assert_allclose(own["order"].values, [1.0, 2.0], atol=0.05)
limit = own["predicted_limit"].values[0]
fates = own["fate"].values
print(f"limit {limit:.3f}, fates of Euler's method: {', '.join(fates[0])}")
np.testing.assert_allclose(limit, own["limit_at_start"].values[0])
settled = ["converged", "converging"]
assert np.isin(fates[:, steps < limit], settled).all()
assert np.all(fates[0, steps > 3 * limit] == "diverged")
ax = draw(own)

# %%
# The Euclidean flow
# ------------------
#
# ``optax.sgd`` is Euler's method for this one. Below the limit all step sizes settle, and far above it none does; in
# between one may, elsewhere. Adam takes steps of about :math:`h` whatever the slope is, so that its time is no time of
# this flow: from the fifth step size to the first, a twentieth of it, SGD comes twenty times closer to the flow and
# Adam by less than half.

euclidean = fm.GradientFlow(problem)
steps = np.geomspace(0.02, 20.0, 10)
plain = fm.compare(euclidean, {"SGD": optax.sgd, "Adam": optax.adam}, net, steps, t1=10.0)

limits = plain["predicted_limit"].values
print(f"orders {plain['order'].values}, limits {limits}")
sgd, adam = plain["error"].values
np.testing.assert_allclose(plain["order"].values, [1.0, np.nan], atol=0.05)
print(f"fates of SGD: {', '.join(plain['fate'].values[0])}")
settles = np.isin(plain["fate"].values[0], settled)
assert settles[steps < limits[0]].all()
assert not settles[steps > 5 * limits[0]].any()
assert np.isnan(limits[1])
assert sgd[0] < sgd[4] / 20
assert adam[0] > adam[4] / 2
ax = draw(plain)
plt.show()
