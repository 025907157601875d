"""
One network in five metrics
===========================

What a step of a network costs is a choice, and the path of its training depends on it. Here one network, 64-32-10
with tanh, learns 200 digits in five metrics: the Euclidean one; the layerwise metric of its outputs as they are, and
of their Fisher information; the full metric, whose block diagonal the last one is; and the per-sample metric, which
lets no sample see another (:doc:`/guides/the-layerwise-metric`).

Flow time has another meaning in each of them, so the losses stand beside wall time too. In flow time the full metric
and its block diagonal go down exponentially at first, as Gauss-Newton does, until the mass shows. The per-sample metric
is the cheapest of the four to solve at one state, and yet its run takes the longest: it overshoots most, so that the
integrator takes more and smaller steps.
"""

import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# Five flows of one problem
# -------------------------

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))[:200]
k1, k2 = jax.random.split(jax.random.key(0))
net = fm.Linear(64, 32, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(32, 10, key=k2)
problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), digits.data[order] / 16, digits.target[order])

metrics = {
    "Euclidean": fm.Euclidean(),
    "layerwise, outputs as they are": fm.LayerwiseMetric.of(problem, output=fm.OutputIdentity(), mass=0.1),
    "layerwise, Fisher": fm.LayerwiseMetric.of(problem, mass=0.1),
    "full, Fisher": fm.FullMetric.of(problem, mass=0.1),
    "per sample, Fisher": fm.PerSampleMetric.of(problem, mass=0.1),
}
ts = np.linspace(0, 8, 41)
runs, seconds = {}, {}
for name, metric in metrics.items():
    flow = fm.GradientFlow(problem, metric)
    runs[name] = fm.simulate(flow, net, ts=ts, rtol=1e-4)
    start = time.perf_counter()  # once more, compiled
    runs[name] = fm.simulate(flow, net, ts=ts, rtol=1e-4)
    seconds[name] = time.perf_counter() - start
    print(f"{name:32s} loss {runs[name].potential[-1]:.4f} in {seconds[name]:5.2f} s")

# %%
# Flow time, and wall time
# ------------------------
#
# Wall time is that of the whole run, spread evenly over its flow time.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
for name, run in runs.items():
    left.semilogy(run.ts, run.potential, label=name)
    right.semilogy(run.ts / run.ts[-1] * seconds[name], run.potential)
left.set(xlabel="flow time", ylabel="training loss")
right.set(xlabel="wall time of the run (s)", xscale="log", xlim=(1e-2, None))
left.legend(frameon=False, fontsize=8)
plt.show()

# %%
# What the layers do
# ------------------
#
# With a small mass each layer alone would remove the whole residual: the layerwise step overshoots, and the step size
# that is best for it in the quadratic model lies between 1/2, as there are two layers, and 1. For the full metric it is
# about 1.

for name in ("layerwise, Fisher", "full, Fisher"):
    report = fm.layer_report(fm.GradientFlow(problem, metrics[name]), net)
    print(name, report, sep="\n")

assert runs["full, Fisher"].potential[-1] < 0.1 * runs["Euclidean"].potential[-1]
steps = {name: run.stats["accepted"] for name, run in runs.items()}
assert max(steps, key=lambda name: steps[name]) == "per sample, Fisher"
assert all(np.abs(run.ledger).max() < 1e-3 for run in runs.values())
