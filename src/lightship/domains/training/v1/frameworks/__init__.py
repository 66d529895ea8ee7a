"""What differs between the v1 jobs: a module a framework, each with one ``FRAMEWORK``. All pure."""
