"""What could be standard library: clock, ids, back-off, task helpers. I import nothing of ours."""
