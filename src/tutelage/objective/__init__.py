"""Terms and their weighted sum: what a distiller trains on."""

from tutelage.objective.objective import Clock, Objective
from tutelage.objective.term import Term

__all__ = ["Clock", "Objective", "Term"]
