"""A program: milliseconds for curvlinops to build K-FAC on 64-128-128-10, N = 128, invert it and apply it once."""

import itertools
import statistics
import time

import torch
from curvlinops import KFACInverseLinearOperator, KFACLinearOperator

COUNT, SIZES, MASS = 128, (64, 128, 128, 10), 1e-2


def network():
    layers = []
    for index, (a, b) in enumerate(itertools.pairwise(SIZES)):
        layers += [torch.nn.Tanh()] * (index > 0) + [torch.nn.Linear(a, b)]
    return torch.nn.Sequential(*layers)


def main():
    torch.manual_seed(0)
    net, loss = network(), torch.nn.CrossEntropyLoss()
    parameters = list(net.parameters())
    data = [(torch.randn(COUNT, SIZES[0]), torch.randint(SIZES[-1], (COUNT,)))]
    vector = torch.randn(sum(p.numel() for p in parameters))
    for fisher in ("type-2", "mc", "empirical"):

        def whole(fisher=fisher):
            operator = KFACLinearOperator(net, loss, parameters, data, fisher_type=fisher, check_deterministic=False)
            return KFACInverseLinearOperator(operator, damping=MASS) @ vector

        whole()
        milliseconds = []
        for _ in range(7):
            started = time.perf_counter()
            whole()
            milliseconds.append(1e3 * (time.perf_counter() - started))
        print(f"{fisher}\t{statistics.median(milliseconds)}")


if __name__ == "__main__":
    main()
