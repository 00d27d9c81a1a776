"""The content of an 'educa' site: subjects, their courses, and the courses' modules."""

from typing import Any

from django.conf import settings
from django.db import models


class OrderField(models.PositiveIntegerField):
    """A number that defaults to one more than the last sibling's."""

    def __init__(self, sibling_of: str | None = None, **options: Any) -> None:
        self.sibling_of = sibling_of
        super().__init__(**options)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        if getattr(model_instance, self.attname) is None:
            siblings = self.model.objects.filter(**{self.sibling_of: getattr(model_instance, self.sibling_of)})
            last = siblings.aggregate(last=models.Max(self.attname))["last"]
            setattr(model_instance, self.attname, 0 if last is None else last + 1)
        return super().pre_save(model_instance, add)


class Subject(models.Model):
    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)

    class Meta:
        ordering = ("title",)


class Course(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="courses_created")
    subject = models.ForeignKey(Subject, models.CASCADE, related_name="courses")
    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    overview = models.TextField()
    created = models.DateTimeField(auto_now_add=True)
    students = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="courses_joined", blank=True)

    class Meta:
        ordering = ("-created",)


class Module(models.Model):
    course = models.ForeignKey(Course, models.CASCADE, related_name="modules")
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    order = OrderField(sibling_of="course", blank=True)

    class Meta:
        ordering = ("order",)
