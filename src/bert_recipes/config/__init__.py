"""What can be set: flags, YAML files, defaults, and what cannot be honoured."""
