"""Teachers: what gives signals to learn from, and never moves."""

from tutelage.teachers.adapter import InputAdapter
from tutelage.teachers.cached import CachedTeacher
from tutelage.teachers.callable import CallableTeacher
from tutelage.teachers.ema import EMATeacher
from tutelage.teachers.ensemble import EnsembleTeacher
from tutelage.teachers.frozen import FrozenTeacher
from tutelage.teachers.inputs import InputSpec, input_spec_of
from tutelage.teachers.itself import Itself
from tutelage.teachers.preflight import chance_report
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.reused_head import ReusedHead
from tutelage.teachers.shared import SharedTeacher
from tutelage.teachers.shuffled import ShuffledTeacher
from tutelage.teachers.views import kept_identity, parts_of, rehearsal, tell_view, view_readers
from tutelage.teachers.writing import WritingTeacher

__all__ = [
    "CachedTeacher",
    "CallableTeacher",
    "EMATeacher",
    "EnsembleTeacher",
    "FrozenTeacher",
    "InputAdapter",
    "InputSpec",
    "Itself",
    "ReusedHead",
    "SharedTeacher",
    "ShuffledTeacher",
    "Teacher",
    "WritingTeacher",
    "chance_report",
    "input_spec_of",
    "kept_identity",
    "parts_of",
    "rehearsal",
    "tell_view",
    "view_readers",
]
