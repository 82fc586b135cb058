"""Cases of relations of samples."""

from mapping.kit import Reasons, Rules

RULES: Rules = {}

REASONS: Reasons = {}
