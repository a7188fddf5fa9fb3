"""From phones and sound to face motion: the rule-based teacher of the motion network."""
