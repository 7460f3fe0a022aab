"""Says that the service is not tested, where what it needs is not there."""

import pytest


@pytest.mark.parametrize(
  'name',
  ['fastapi', 'httpx', 'python_multipart', 'prometheus_client', 'uvicorn'],
)
def test_what_the_service_needs_is_there(name):
  pytest.importorskip(name)
