"""Programs that stand in for those of well-known images. They run in containers, under the container's own Python from
3.8, with the standard library alone: each is one file, and imports nothing of ours. ``stand_ins`` says where they go.
"""
