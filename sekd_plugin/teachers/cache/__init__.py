"""The teacher on disk: computed once for a corpus, read by any number of trainings."""

from sekd_plugin.teachers.cache.plan import CachePlan
from sekd_plugin.teachers.cache.reading import TeacherCache
from sekd_plugin.teachers.cache.sentences import sentence_key

__all__ = ["CachePlan", "TeacherCache", "sentence_key"]
