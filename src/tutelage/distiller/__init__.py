"""The Distiller: student, teacher and objective as one module for any training loop."""

from tutelage.distiller.distiller import Distiller

__all__ = ["Distiller"]
