"""Quota, limits and priority: what a namespace and a Pod may ask for, judged at admission. ``admission`` calls me."""
