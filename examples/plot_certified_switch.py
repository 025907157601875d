"""
A gene switch that is proved to forget
======================================

A cell in which one gene of a toggle switch is on should stay so, and forget small disturbances. A simulation shows it
for one start. This page proves it for a whole box of starts at once: no trajectory leaves the box, and any two in it
approach each other at a rate that holds everywhere in it. It also shows where no such proof can be had, and why the
metric comes first.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

flow = fm.bio.toggle_switch(3.0, 3.0, n=2.0)
on = (3 + np.sqrt(5)) / 2  # u v = 1 and u + v = 3 at the stable states
box = ({"u": 2.2, "v": 0.2}, {"u": 3.0, "v": 0.6})

# %%
# In the Euclidean metric nothing can be proved
# ---------------------------------------------
#
# Here :math:`J = (-1, f'(v); g'(u), -1)`, and the Euclidean rate is :math:`1 - |f' + g'|/2`. At the stable state, where
# one gene hardly listens and the other listens well, it is almost zero, and in a corner of the box it is negative: two
# cells side by side may first move apart. That is a true statement, and ``certify`` gives the point.

euclidean = fm.certify(flow, box, metric=fm.Euclidean())
print(euclidean)
assert euclidean.status == "disproved"
state = {"u": jnp.asarray(on), "v": jnp.asarray(1 / on)}
assert abs(fm.contraction_rate(flow, state, metric=fm.Euclidean())) < 1e-3

# %%
# Weights for the two genes
# -------------------------
#
# The two repressions enter by their product only, once :math:`u` and :math:`v` are weighed. ``fit_metric`` finds the
# best weights for some states of the box, and ``certify`` proves the rate between them too. It also proves that no
# trajectory leaves: on each face the velocity points inwards. So there is exactly one stable state in the box, and
# every cell that is in the box comes to it at that rate.

rng = np.random.default_rng(0)
samples = {name: jnp.asarray(rng.uniform(box[0][name], box[1][name], 40)) for name in box[0]}
fitted = fm.fit_metric(flow, samples, structure="diagonal")
print(fitted)
proved = fm.certify(flow, box, metric=fitted.metric, invariant=True)
print(proved)
assert proved.status == "proved"
assert proved.invariance.status == "proved"
assert 0.1 < proved.rate <= fitted.rate

# %%
# The same from the modules
# -------------------------
#
# Each gene on its own forgets at rate 1. What remains to be known are two numbers, the largest slopes of the two
# repressions in the box. The small-gain rule composes them to :math:`1 - \sqrt{k_{12} k_{21}}` and gives the weights.
# Both slopes are largest at one and the same state, so that nothing is lost here: in these weights the interval
# arithmetic of ``certify``, which knows nothing of modules, proves the same rate to its one per cent.


def slope(x):
    return 6 * x / (1 + x**2) ** 2


k12 = slope(1 / np.sqrt(3))  # of v on u: the largest slope of all lies in the box
k21 = slope(box[0]["u"])  # of u on v: the slope falls beyond
composed = fm.compose.small_gain(1.0, 1.0, k12, k21)
print(composed)
again = fm.certify(flow, box, metric=fm.ConstantMetric(np.diag(composed.weights)))
assert 0.99 * composed.rate <= again.rate <= composed.rate <= again.upper * (1 + 1e-9)

# %%
# Over the saddle there is no proof
# ---------------------------------
#
# A box that reaches over the saddle at :math:`u = v` holds two cells that go different ways. No metric can change that,
# and the certificate says so with a point.

wide = ({"u": 0.9, "v": 0.9}, {"u": 1.6, "v": 1.6})
over_the_saddle = fm.certify(flow, wide, metric=fitted.metric)
print(over_the_saddle)
assert over_the_saddle.status == "disproved"

starts = {"u": jnp.asarray([2.2, 3.0, 2.3, 3.0, 1.30, 1.1]), "v": jnp.asarray([0.6, 0.6, 0.2, 0.25, 1.12, 1.4])}
runs = fm.ensemble(flow, starts, t1=40.0, ts=np.linspace(0.0, 40.0, 401))
view = ({"u": 0.01, "v": 0.01}, {"u": 3.3, "v": 3.3})
figure, ax = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
fm.plot.rate_map(flow, view, runs, [proved, over_the_saddle], metric=fitted.metric, ax=ax)
ax.legend(loc="upper right", fontsize="small")
plt.show()
