"""Cases of divergences."""

from mapping.kit import Reasons, Rules

RULES: Rules = {}

REASONS: Reasons = {}
