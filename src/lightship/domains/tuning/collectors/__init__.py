"""How trials' metrics come in: read off what they print, write or serve, or reported by themselves. See ``gather``."""
