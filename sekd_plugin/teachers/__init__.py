"""Where the teacher's distribution comes from, when not from its logits."""

from sekd_plugin.teachers.sparse import SparseTeacher

__all__ = ["SparseTeacher"]
