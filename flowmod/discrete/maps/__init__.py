"""What families of optimizers settle on: stability maps, and bifurcations with the step size."""

from .bifurcation import bifurcation as bifurcation
from .stability_map import stability_map as stability_map
