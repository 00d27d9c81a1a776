"""The site's own addresses: Django's sign-in and sign-out, a page, an API and a file."""

from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path


def site_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"the site's {request.path}, for {request.user.get_username() or 'nobody'}")


urlpatterns = [
    path("accounts/login/", views.LoginView.as_view(next_page="/students/courses/")),
    path("accounts/logout/", views.LogoutView.as_view(next_page="/")),
    re_path("", site_page),
]
