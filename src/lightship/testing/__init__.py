"""What tests, ours and others', are made with: fake time, reconciler tables, one API suite for every server."""
