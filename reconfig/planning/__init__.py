"""From a rule to a plan: what every width and every stage becomes, as data."""
