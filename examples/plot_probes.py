"""
A hundred outputs, and a few probes
===================================

The rows of a layerwise metric are as many as samples times outputs, and a direct solve grows with the cube of them.
With hundreds of outputs a few random combinations of them can stand for all: ``fm.OutputSampled`` draws ``m`` probes
for each sample, scaled so that the metric is right on average, and says how far off it is.

Here a network with 100 outputs is asked for its step on 300 samples with 1 to 30 probes. The angle to the exact step
closes as the noise of a mean does, and the time falls with the number of rows.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm

jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 160

# %%
# A teacher with 100 outputs
# --------------------------

keys = jax.random.split(jax.random.key(0), 5)
teacher = fm.Linear(10, 16, key=keys[0]) >> fm.Pointwise(jnp.tanh) >> fm.Linear(16, 100, key=keys[1])
student = fm.Linear(10, 16, key=keys[2]) >> fm.Pointwise(jnp.tanh) >> fm.Linear(16, 100, key=keys[3])
inputs = jax.random.normal(keys[4], (300, 10))
problem = fm.Supervised(student, fm.MeanSquaredError(), inputs, jax.vmap(teacher)(inputs))
exact = fm.OutputIdentity()


def step_in(output):
    """The step of the student in the metric of these outputs, as one vector, and its time in milliseconds."""
    metric = fm.LayerwiseMetric.of(problem, output=output, mass=0.1)
    step = eqx.filter_jit(lambda net: fm.steepest_descent(problem, metric, net)[2])
    vector = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(step(student))])
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(step(student))
        times.append(time.perf_counter() - start)
    return np.asarray(vector), 1e3 * np.median(times)


# %%
# Angle, time, and the variance it reports
# ----------------------------------------

wanted, whole = step_in(exact)
probes = np.array([1, 3, 10, 30])
cosines, times, variances = [], [], []
for m in probes:
    sampled = fm.OutputSampled(exact, int(m), jax.random.key(int(m)))
    vector, milliseconds = step_in(sampled)
    cosines.append(vector @ wanted / np.linalg.norm(vector) / np.linalg.norm(wanted))
    times.append(milliseconds)
    variances.append(float(np.mean(sampled.variance(jax.vmap(student)(inputs), problem.targets))))
    print(f"{m:3d} probes: cosine {cosines[-1]:.4f}, {milliseconds:7.2f} ms, relative variance {variances[-1]:.2f}")
print(f"all 100 outputs: {whole:.2f} ms")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.semilogx(probes, cosines, "o-")
left.axhline(1, color="0.6", lw=0.8)
left.set(xlabel="probes", ylabel="cosine to the exact step")
right.loglog(probes, times, "o-")
right.axhline(whole, color="0.6", lw=0.8)
right.annotate("all outputs", (1, whole), va="bottom", color="0.4")
right.set(xlabel="probes", ylabel="time of a step (ms)")
plt.show()

assert np.all(np.diff(variances) < 0)
assert cosines[-1] > 0.9 > cosines[0]
