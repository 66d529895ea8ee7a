"""Containers of images that the catalogue does not map: run by podman or docker where the settings name one."""
