"""Programs: what is one and what is not, files without a lost digit, and simplifications that change no value."""

import json

import numpy as np
import pytest

from flowmod.contraction.certificate._builder import Builder
from flowmod.contraction.certificate._inputs import composed, same, used_inputs
from flowmod.contraction.certificate._program import ARITY, Operation, Program


def mean_of_squares():
    operations = (
        Operation("integer_pow", (0,), 2),
        Operation("mul", (1, 1)),
        Operation("add", (2, 3)),
        Operation("constant", (), 0.1),
        Operation("mul", (4, 5)),
    )
    return Program(2, operations, (6, 0))


def test_a_program_is_evaluated_at_many_points():
    points = np.array([[1.0, 2.0], [-3.0, 0.5]])
    expected = np.stack([0.1 * (points[:, 0] ** 2 + points[:, 1] ** 2), points[:, 0]], axis=1)
    np.testing.assert_allclose(mean_of_squares().evaluate(points), expected, rtol=1e-15)


def test_undefined_values_are_nan():
    program = Program(1, (Operation("log", (0,)), Operation("tanh", (1,))), (2,))
    assert np.isnan(program.evaluate([[-1.0]]))


def test_a_file_loses_no_digit():
    values = [0.1, 1 / 3, 5e-324, -1.7976931348623157e308, float("nan")]
    operations = tuple(Operation("constant", (), value) for value in values)
    program = Program(0, (*operations, Operation("pow", (0,), 2.2)), tuple(range(6)))
    back = Program.from_json(json.loads(json.dumps(program.to_json(), allow_nan=False)))
    assert [operation.parameter for operation in back.operations[:4]] == values[:4]
    assert np.isnan(back.operations[4].parameter)
    assert back.operations[5] == program.operations[5]
    assert Program.from_json(mean_of_squares().to_json()) == mean_of_squares()


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        (Operation("gamma", (0,)), r"operation 0 .* no operation `gamma`"),
        (Operation("add", (0,)), "`add` has 2 operands, not 1"),
        (Operation("add", (0, 2)), "none of the 2 earlier nodes"),
        (Operation("add", (0, -1)), "none of the 2 earlier nodes"),
        (Operation("add", (0, True)), "none of the 2 earlier nodes"),
        (Operation("add", (0, 1), 1.0), "`add` has no parameter"),
        (Operation("integer_pow", (0,), 2.0), "an integer other than 0"),
        (Operation("integer_pow", (0,), 0), "an integer other than 0"),
        (Operation("pow", (0,), 2.0), "a finite float that is no integer"),
        (Operation("constant", (), float("inf")), "finite or NaN"),
        (Operation("constant", (), 1), "finite or NaN"),
    ],
)
def test_what_is_no_program_is_refused_with_its_place(operation, complaint):
    with pytest.raises(ValueError, match=complaint):
        Program(2, (operation,), (0,))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"inputs": "2"}, "needs `inputs`"),
        ({"inputs": -1}, "must be a number of inputs"),
        ({"outputs": [9]}, "output 9 of the program is none of its 7 nodes"),
        ({"operations": [["add", 3, None]]}, r"operation 0 .* is no \[name, operands, parameter\]"),
        ({"operations": [["add"]]}, r"operation 0 .* is no \[name, operands, parameter\]"),
        ({"operations": [["constant", [], "one"]]}, r"operation 0 .* is no \[name, operands, parameter\]"),
        ({"operations": [[["add"], [0, 1], None]]}, "there is no operation"),
    ],
)
def test_a_changed_file_is_refused_with_its_place(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Program.from_json({**mean_of_squares().to_json(), **change})


def test_equal_operations_are_made_once():
    builder = Builder(2)
    one, other = builder.apply("add", 0, 1), builder.apply("add", 1, 0)
    assert one == other
    assert builder.constant(1) == builder.constant(1.0)
    assert builder.integer_pow(one, 1) == one
    assert len(builder.program([builder.apply("mul", one, other)]).operations) == 2  # a sum and its square


def test_constants_are_worked_out_only_where_nothing_rounds():
    builder = Builder(0)
    exact = builder.apply("mul", builder.constant(0.1), builder.constant(0.5))
    assert builder.value(exact) == 0.05
    assert builder.value(builder.apply("mul", builder.constant(0.1), builder.constant(3.0))) is None
    assert builder.value(builder.apply("exp", builder.constant(1.0))) is None
    assert builder.value(builder.integer_pow(builder.constant(3.0), 40)) is None


def test_zero_times_something_undefined_stays_undefined():
    builder = Builder(1)
    product = builder.apply("mul", builder.constant(0.0), builder.apply("log", 0))
    difference = builder.apply("sub", builder.apply("log", 0), builder.apply("log", 0))
    finite = builder.apply("le", builder.apply("log", 0), builder.constant(np.inf))
    program = builder.program([product, difference, finite])
    np.testing.assert_array_equal(program.evaluate([[2.0]]), [[0.0, 0.0, 1.0]])
    assert np.isnan(program.evaluate([[-1.0]])[0, :2]).all()
    defined = builder.apply("log", builder.apply("add", builder.constant(1.0), builder.apply("exp", 0)))
    assert builder.value(builder.apply("mul", builder.constant(0.0), defined)) == 0


def test_exponentials_over_their_sum_lose_their_common_shift():
    builder = Builder(4)
    powers = [builder.apply("exp", builder.apply("sub", i, 3)) for i in range(3)]
    total = builder.apply("add", builder.apply("add", powers[0], powers[1]), powers[2])
    program = builder.program([builder.apply("div", power, total) for power in powers])
    assert used_inputs(program) == {0, 1, 2}
    point = np.array([0.3, -1.0, 2.0, 700.0])
    exact = np.exp(point[:3]) / np.exp(point[:3]).sum()
    np.testing.assert_allclose(program.evaluate(point[None])[0], exact, rtol=1e-14)
    # Another shift is another function, and a shift that may be undefined is not dropped.
    other = builder.apply("add", powers[0], builder.apply("exp", builder.apply("sub", 1, 2)))
    assert used_inputs(builder.program([builder.apply("div", powers[0], other)])) == {0, 1, 2, 3}
    root = builder.apply("sqrt", 3)
    pair = [builder.apply("exp", builder.apply("sub", i, root)) for i in (0, 1)]
    program = builder.program([builder.apply("div", pair[0], builder.apply("add", *pair))])
    assert np.isnan(program.evaluate([[0.0, 0.0, 0.0, -1.0]]))


def test_the_slope_of_a_softplus_is_a_sigmoid():
    builder = Builder(1)
    power = builder.apply("exp", 0)
    rest = builder.integer_pow(builder.apply("add", builder.constant(1.0), power), -1)
    assert builder.operation(builder.apply("mul", rest, power)) == Operation("logistic", (0,))
    other = builder.apply("div", builder.constant(1.0), builder.apply("add", builder.constant(1.0), power))
    assert builder.operation(builder.apply("mul", power, other)) == Operation("logistic", (0,))


def test_programs_of_programs():
    inner, outer = Builder(2), Builder(3)
    inside = inner.program([inner.apply("exp", 0), inner.apply("mul", 0, 1), 1])
    outside = outer.program([outer.apply("sub", 0, 2), outer.apply("mul", outer.constant(0.0), 1)])
    program = composed(outside, inside)
    np.testing.assert_allclose(program.evaluate([[0.5, 3.0]]), [[np.exp(0.5) - 3, 0.0]])
    # Seen from outside an input may be anything; here nothing is undefined.
    assert program.operations[-1] == Operation("constant", (), 0.0)
    assert same(program, composed(outside, inside))
    assert not same(program, composed(outside, inner.program([0, 0, 1])))


def test_simplifications_change_no_value():
    # The other route is the program of the same operations in which nothing was simplified.
    rng = np.random.default_rng(7)
    points = rng.uniform(-2, 2, (50, 3))
    names = [name for name in ARITY if name not in ("constant", "pow", "select", "lt", "le", "eq")]
    compared = spared = 0
    for _ in range(60):
        builder, naive = Builder(3), [Operation("constant", (), value) for value in (0.0, 1.0, 2.0)]
        nodes = [0, 1, 2, *(builder.constant(operation.parameter) for operation in naive)]
        for _ in range(25):
            name = str(rng.choice(names))
            places = rng.integers(0, len(nodes), ARITY[name]).tolist()
            exponent = int(rng.integers(1, 4)) if name == "integer_pow" else None
            naive.append(Operation(name, tuple(places), exponent))
            nodes.append(builder.again(name, [nodes[place] for place in places], exponent))
        plain, simple = Program(3, tuple(naive), tuple(range(6, 31))), builder.program(nodes[6:])
        one, other = plain.evaluate(points), simple.evaluate(points)
        usable = np.isfinite(one) & (np.abs(one) < 1e3)
        # Where large numbers cancel, no digit is left to compare.
        assert np.isclose(one, other, rtol=1e-7, atol=1e-7)[usable].mean() > 0.995
        compared, spared = compared + usable.sum(), spared + len(naive) - len(simple.operations)
    assert compared > 20_000
    assert spared > 300
