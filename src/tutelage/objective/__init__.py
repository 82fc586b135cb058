"""Terms and their weighted sum: what a distiller trains on."""

from tutelage.objective.objective import Clock, Objective
from tutelage.objective.places import Place, places_of
from tutelage.objective.shares import shares
from tutelage.objective.term import Term

__all__ = ["Clock", "Objective", "Place", "Term", "places_of", "shares"]
