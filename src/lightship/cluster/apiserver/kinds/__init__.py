"""The built-in kinds one by one: defaults, validation and printing. ``core`` puts them into the registry."""
