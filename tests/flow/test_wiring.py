"""Wired modules: the assembled field against one written by hand, its metric, its ports, and its contraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm

A1 = jnp.asarray([[-1.0, 0.3], [-0.3, -2.0]])
A2 = jnp.asarray([[-1.5, 0.2, 0.0], [0.1, -1.1, 0.3], [-0.4, 0.2, -2.2]])
G = jnp.asarray([[1.7, -0.8], [0.3, 2.2], [-1.0, 0.6]])
X1, X2 = jnp.asarray([0.5, -0.7]), jnp.asarray([0.3, 0.9, -0.2])


def first(**more):
    return fm.Dynamical(lambda t, x, u, args: A1 @ x + u, input=jnp.zeros(2), state=jnp.zeros(2), **more)


def second(**more):
    return fm.Dynamical(lambda t, x, u, args: A2 @ jnp.tanh(x) + u, input=jnp.zeros(3), state=jnp.zeros(3), **more)


def test_a_cascade_is_the_field_written_by_hand():
    whole = fm.cascade(first(), second(), gain=G)
    moved = whole.vector_field(0.0, (X1, X2))
    np.testing.assert_allclose(moved[0], A1 @ X1, rtol=1e-14)
    np.testing.assert_allclose(moved[1], A2 @ jnp.tanh(X2) + G @ X1, rtol=1e-14)
    # Its input is that of the first module, its output that of the second.
    driven = whole.drive(0.0, (X1, X2), jnp.ones(2))
    np.testing.assert_allclose(driven[0], A1 @ X1 + 1, rtol=1e-14)
    np.testing.assert_allclose(driven[1], moved[1], rtol=1e-14)
    assert whole.output(0.0, (X1, X2)) is X2


def test_feedback_takes_gains_as_compose_does():
    """`gain_ab` is how b enters a."""
    whole = fm.feedback(first(), second(), -2.0 * G.T, G)
    moved = whole.vector_field(0.0, (X1, X2))
    np.testing.assert_allclose(moved[0], A1 @ X1 - 2 * G.T @ X2, rtol=1e-14)
    np.testing.assert_allclose(moved[1], A2 @ jnp.tanh(X2) + G @ X1, rtol=1e-14)


def test_a_network_of_named_modules_with_outputs_trees_and_functions():
    pool = fm.Dynamical(
        lambda t, x, u, args: {"v": -x["v"] + u["v"], "w": args * x["v"] - x["w"] + u["w"]},
        output=lambda t, x, args: jnp.stack([x["v"], jnp.sin(t) * x["w"]]),
        input={"v": jnp.zeros(()), "w": jnp.zeros(())},
        name="pool",
        units={"time": "ms", "v": "mV"},
    )
    motor = fm.Dynamical(
        lambda t, x, u, args: -x + jnp.tanh(u), input=jnp.zeros(3), name="motor", units={"time": "ms", "y": "Hz"}
    )
    weights, back = jnp.asarray([[1.0, 2.0], [0.0, -1.0], [0.5, 0.5]]), jnp.asarray([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    table = [[None, back], [lambda z: weights @ z, 0.5]]
    whole = fm.network([pool, motor], table)
    y = {"pool": {"v": jnp.asarray(0.3), "w": jnp.asarray(-0.8)}, "motor": X2}
    moved = whole.vector_field(0.7, y, 4.0)
    sent = np.array([0.3, np.sin(0.7) * -0.8])
    np.testing.assert_allclose(moved["motor"], -X2 + np.tanh(weights @ sent + 0.5 * X2), rtol=1e-12)
    np.testing.assert_allclose(moved["pool"]["v"], -0.3 + (back @ X2)[0], rtol=1e-14)
    np.testing.assert_allclose(moved["pool"]["w"], 4 * 0.3 + 0.8 + (back @ X2)[1], rtol=1e-14)
    assert dict(whole.units) == {"time": "ms", "pool.v": "mV", "motor": "Hz"}
    # Two words for the time are none.
    seconds = fm.Dynamical(lambda t, x, u, args: -x, name="slow", units={"time": "s", "y": "Hz"})
    for other in (seconds, fm.Dynamical(lambda t, x, u, args: -x, name="slow")):
        assert "time" not in dict(fm.independent(motor, other).units)
    # The same wires by name.
    named = fm.network([pool, motor], {("pool", "motor"): back, (1, 0): weights, ("motor", "motor"): 0.5})
    again = named.vector_field(0.7, y, 4.0)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, rtol=1e-14)), moved, again))


def test_systems_nest():
    """A cascade inside a loop with a third module: against the joint Jacobian, put together by hand."""
    inner = fm.cascade(first(), second(), gain=G)
    third = fm.Dynamical(lambda t, x, u, args: -3.0 * x + u, input=jnp.zeros(1), state=jnp.zeros(1))
    row, column = jnp.asarray([[0.3, -0.2, 0.5]]), jnp.asarray([[0.7], [-0.4]])
    whole = fm.feedback(inner, third, column, row)
    y = ((X1, X2), jnp.asarray([0.4]))
    by_hand = ((A1 @ X1 + column @ y[1], A2 @ jnp.tanh(X2) + G @ X1), -3.0 * y[1] + row @ X2)
    moved = whole.vector_field(0.0, y)
    assert jax.tree.structure(moved) == jax.tree.structure(by_hand)
    for ours, theirs in zip(jax.tree.leaves(moved), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    # Negative control: a gain transposed, or fed into the second module, is another field.
    wrong = fm.feedback(inner, third, -column, row).vector_field(0.0, y)
    assert np.abs(wrong[0][0] - moved[0][0]).max() > 0.1

    # The metric nests as the state does, each level with weights of its own.
    heavy = fm.feedback(inner.weighted([1.0, 0.25]), third, column, row).weighted([1.0, 3.0])
    np.testing.assert_allclose(heavy.metric(y).as_matrix(), np.diag([1, 1, 0.25, 0.25, 0.25, 3.0]))
    joint = np.asarray(jax.jit(lambda y: fm.generalized_jacobian(heavy, y))(y))
    slope = np.asarray(A2) / np.cosh(np.asarray(X2)) ** 2
    jacobian = np.block(
        [[A1, np.zeros((2, 3)), column], [G, slope, np.zeros((3, 1))], [np.zeros((1, 2)), row, np.full((1, 1), -3.0)]]
    )
    theta = np.sqrt([1, 1, 0.25, 0.25, 0.25, 3.0])
    np.testing.assert_allclose(joint, theta[:, None] * jacobian / theta, rtol=1e-12, atol=1e-14)


def test_the_rate_of_the_assembled_system_is_not_below_the_composed_one():
    """E-I populations: skew feedback in the composition's metric, and the identity's false alarm."""
    excite = fm.Dynamical(lambda t, x, u, args: A1 @ x + u, input=jnp.zeros(2))
    inhibit = fm.Dynamical(lambda t, x, u, args: -1.5 * x + u, input=jnp.zeros(1))
    b, k = jnp.asarray([[2.0], [1.0]]), 4.0
    whole, y = fm.feedback(excite, inhibit, b, -k * b.T), (jnp.ones(2), jnp.ones(1))
    found = fm.compose.skew_feedback(fm.contraction_rate(excite, jnp.ones(2)), 1.5, ratio=1 / k)
    np.testing.assert_allclose(fm.contraction_rate(whole, y), -2.0293439, atol=1e-7)
    np.testing.assert_allclose(fm.contraction_rate(whole.weighted(found.weights), y), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.rate, 1.0, rtol=1e-12)
    [origin] = fm.equilibria(whole, (jax.tree.map(jnp.negative, y), y), starts=8)
    np.testing.assert_allclose(origin.eigenvalues[0].real, -1.3494778, atol=1e-7)


def test_the_nonlinear_feedback_of_the_oracle_stays_under_its_envelope(oracle):
    """x' = -x - x^3 + 0.8 tanh y + sin t, y' = -2 y - 0.5 sin x: two runs in the metric of the small gain."""
    wanted = oracle("o13_composition_rates")["results"]["nonlinear_feedback"]
    one = fm.Dynamical(lambda t, x, u, args: -x - x**3 + jnp.sin(t) + u, input=jnp.zeros(()))
    two = fm.Dynamical(lambda t, y, u, args: -2 * y + u, input=jnp.zeros(()))
    found = fm.compose.small_gain(1.0, 2.0, 0.8, 0.5)
    np.testing.assert_allclose(found.rate, wanted["bound"], rtol=1e-12)
    whole = fm.feedback(one, two, lambda y: 0.8 * jnp.tanh(y), lambda x: -0.5 * jnp.sin(x)).weighted(found.weights)
    times = np.asarray(wanted["t"])
    starts = (jnp.asarray([1.5, -0.8]), jnp.asarray([-1.0, 1.2]))
    runs = fm.ensemble(whole, starts, ts=times, rtol=1e-11, atol=1e-13)
    gaps = [np.diff(leaf, axis=0)[0] for leaf in runs.ys]
    distance = np.sqrt(sum(float(w) * gap**2 for w, gap in zip(whole.metric.weights, gaps, strict=True)))
    np.testing.assert_allclose(distance, wanted["distances"], rtol=1e-7)
    envelope = distance[0] * np.exp(-found.rate * times)
    assert np.all(distance <= envelope * (1 + 1e-12))
    # Negative control: what the gains would be worth if they did not act at all is too fast an envelope somewhere.
    late = -np.diff(np.log(distance)) / np.diff(times)
    assert late.min() < 2.0
    rates = fm.contraction_rate(whole, runs[0])
    assert rates.min() >= found.rate


def test_composed_rates_of_random_networks_hold_for_the_assembled_systems():
    """Rates and gains measured from blocks, composed, and checked in one program for all systems."""
    rng = np.random.default_rng(1)
    sizes, places = (2, 1, 2), [slice(0, 2), slice(2, 3), slice(3, 5)]
    jacobians = rng.normal(size=(40, 5, 5)) * 0.5 - 2 * np.eye(5)
    y = tuple(jnp.zeros(n) for n in sizes)

    def member(p):
        return fm.Dynamical(lambda t, x, u, j: j[p, p] @ x + u, input=jnp.zeros(p.stop - p.start))

    @jax.jit
    @jax.vmap
    def rate(jacobian, weights):
        table = [[None if p == q else jacobian[p, q] for q in places] for p in places]
        whole = fm.network([member(p) for p in places], table).weighted(weights)
        return fm.contraction_rate(whole, y, args=jacobian)

    found = []
    for j in jacobians:
        own = [-np.linalg.eigvalsh((j[p, p] + j[p, p].T) / 2)[-1] for p in places]
        gains = [[0.0 if p == q else np.linalg.norm(j[p, q], 2) for q in places] for p in places]
        found.append(fm.compose.network(own, gains))
    weights, bounds = np.array([c.weights for c in found]), np.array([c.rate for c in found])
    true = rate(jnp.asarray(jacobians), jnp.asarray(weights))
    assert np.all(bounds <= true + 1e-12)
    assert np.max(true - bounds) > 0.1
    # Negative control: the weights of other systems do not achieve it.
    assert np.any(bounds > rate(jnp.asarray(jacobians), jnp.asarray(1 / weights)) + 1e-3)


def test_certificates_of_modules_compose_to_one_of_the_system():
    one = fm.Dynamical(lambda t, x, u, args: -2 * x - x**3 + u, input=jnp.zeros(1))
    two = fm.Dynamical(lambda t, x, u, args: -x + 0.3 * jnp.tanh(x) + u, input=jnp.zeros(1))
    box = (-jnp.ones(1), jnp.ones(1))
    found = fm.compose.small_gain(fm.certify(one, box), fm.certify(two, box), 0.8, 0.5)
    assert found.proved
    np.testing.assert_allclose(found.rate, 1.35 - np.sqrt(0.65**2 + 0.4), rtol=2e-2)
    whole = fm.feedback(one, two, lambda y: 0.8 * jnp.tanh(y), lambda x: -0.5 * jnp.sin(x)).weighted(found.weights)
    assert found.rate <= fm.contraction_rate(whole, (jnp.zeros(1), jnp.zeros(1)))


def test_a_system_of_two_hundred_modules():
    n = 200
    matrix = np.random.default_rng(0).normal(size=(n, n)) * (np.random.default_rng(1).random((n, n)) < 0.01)
    module = fm.Dynamical(lambda t, x, u, args: -x + u, input=jnp.zeros(()))
    table = {(int(i), int(j)): matrix[i, j] for i, j in np.argwhere(matrix)}
    whole = fm.network([module] * n, table)
    x = np.random.default_rng(2).normal(size=n)
    moved = whole.vector_field(0.0, tuple(jnp.asarray(value) for value in x))
    np.testing.assert_allclose(np.stack(moved), matrix @ x - x, rtol=1e-12, atol=1e-12)


def test_single_precision_and_ports_without_examples():
    loose = fm.Dynamical(lambda t, x, u, args: -x + u)
    y = (jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float32))
    moved = fm.cascade(loose, loose, gain=2).vector_field(0.0, y)
    assert [leaf.dtype for leaf in moved] == [jnp.float32] * 2
    np.testing.assert_allclose(moved, [[-1.0, -1.0], [1.0, 1.0]])
    # Modules may differ in precision.
    mixed = fm.feedback(loose, first(), 2.0, np.eye(2)).vector_field(0.0, (y[0], X1))
    assert [leaf.dtype for leaf in mixed] == [jnp.float32, jnp.float64]
    np.testing.assert_allclose(mixed[1], A1 @ X1 + 1, rtol=1e-14)
    np.testing.assert_allclose(fm.independent(loose, first()).vector_field(0.0, (X1, X1))[1], A1 @ X1, rtol=1e-14)
    np.testing.assert_allclose(loose.vector_field(0.0, X1), -X1)
    with pytest.raises(ValueError, match=r"module 'loop' has the shape \(2,\), but `u` has \(3,\)"):
        first(name="loop").drive(0.0, X1, jnp.ones(3))


def test_a_system_of_modules_without_examples_can_be_driven():
    loose, y = fm.Dynamical(lambda t, x, u, args: -x + u), (X1, X2)
    pair = fm.independent(loose, loose)
    u = (jnp.ones(2), 2 * jnp.ones(3))
    np.testing.assert_allclose(np.hstack(pair.drive(0.0, y, u)), np.hstack([1 - X1, 2 - X2]))
    np.testing.assert_allclose(np.hstack(pair.drive(0.0, y, (None, u[1]))), np.hstack([-X1, 2 - X2]))
    whole = fm.cascade(first(), pair, gain=lambda z: (z, G @ z))
    np.testing.assert_allclose(np.hstack(whole.vector_field(0.0, (X1, y))[1]), np.hstack([X1 - X1, G @ X1 - X2]))
    # A shape that is known is checked beside one that is not.
    half = fm.independent(loose, second())
    with pytest.raises(ValueError, match=r"has the shape \(None, \(3,\)\), but `u` has \(\(2,\), \(2,\)\)"):
        half.drive(0.0, y, (u[0], u[0]))
    for wrong in ((u[0],), u[0], {"a": u[0], "b": u[1]}):
        with pytest.raises(ValueError, match=r"The input of this module has the shape \(None, None\), but `u` has"):
            pair.drive(0.0, y, wrong)
    for gain in (1.0, np.ones((5, 2))):
        with pytest.raises(ValueError, match=r"input of module 1 has the shape \(None, None\). .*: a function that"):
            fm.cascade(first(), pair, gain)


def test_ports_that_do_not_match_are_named_when_wired():
    with pytest.raises(
        ValueError, match=r"output of module 0 has the shape \(2,\), but the input of module 1 .* \(3,\)"
    ):
        fm.cascade(first(), second())
    with pytest.raises(
        ValueError, match=r"'a' has the shape \(2,\), which its gain makes \(1,\).*'b' has the shape \(3,\)"
    ):
        fm.cascade(first(name="a"), second(name="b"), gain=lambda z: z[:1])
    with pytest.raises(
        ValueError, match=r"output of module 'a', of shape \(2,\), can't pass to module 'b': a gain of sha"
    ):
        fm.feedback(first(name="a"), second(name="b"), G.T, G.T)
    with pytest.raises(ValueError, match=r"matrix of shape \(3, 2\)"):
        fm.network([first(), second()], [[None, G.T], [1.0, None]])


def test_ports_that_do_not_match_are_named_when_run():
    blind = fm.Dynamical(lambda t, x, u, args: -x + u, name="blind")
    with pytest.raises(ValueError, match=r"output of module 'blind' has the shape \(2,\), but the input of module 'b'"):
        fm.cascade(blind, second(name="b")).vector_field(0.0, {"blind": X1, "b": X2})
    for x in (X2, X2[:1]):
        with pytest.raises(ValueError, match=r"'blind' with a state of shape .* can't take .*, \(2,\) from module 'a'"):
            fm.cascade(first(name="a"), blind).vector_field(0.0, {"a": X1, "blind": x})
    with pytest.raises(ValueError, match=r"state of this system is a tuple of 2, one for each module, got \(2,\)"):
        fm.cascade(first(), second(), G).vector_field(0.0, X1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fm.Dynamical(lambda t, x, args: -x), r"`fn` must be a function of \(t, x, u, args\)"),
        (
            lambda: fm.Dynamical(lambda t, x, u, args: -x, output=lambda x: x),
            r"`output` must be a function of \(t, x, args",
        ),
        (lambda: fm.Dynamical(lambda t, x, u, args: -x, metric=3.0), "`metric` must be a metric"),
        (lambda: fm.Dynamical(lambda t, x, u, args: -x, input=(3,)), r"`input` must hold float arrays.*jnp.zeros\(3\)"),
        (lambda: fm.Dynamical(lambda t, x, u, args: -x, name=""), "`name` must be a word"),
        (lambda: first().weighted([1.0]), "`weighted` is for a system of modules"),
        (lambda: fm.independent(first(), second()).weighted([1.0]), "`weights` must be one number for each of 2"),
        (lambda: fm.cascade(first(name="a"), second(name="a"), G), "names of modules must differ"),
        (lambda: fm.cascade(first(), fm.VectorField(lambda t, y, args: -y)), "Module 1 must be a `fm.Dynamical`"),
        (lambda: fm.independent(), "at least one module"),
        (lambda: fm.network([first()], [[None, None]]), "`couplings` must be a table of 1 rows"),
        (lambda: fm.network([first()], {(0, 1): 1.0}), "`couplings` names the module 1, but there are 1"),
        (
            lambda: fm.network([first(name="a"), first(name="b")], {("a", "b"): 1.0, (0, 1): 1.0}),
            "more than one gain of module 'b' into module 'a': give their sum",
        ),
        (lambda: fm.network([first()], {0: 1.0}), r"must be pairs \(target, source\)"),
        (lambda: fm.network([first()], [[np.ones(3)]]), r"`couplings\[0\]\[0\]` must be a finite number"),
        (lambda: fm.cascade(first(), first(), "x"), "`gain` must be a number, a matrix or a function"),
        (lambda: fm.cascade(first(), first(), jnp.nan), "`gain` must be a finite number"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
