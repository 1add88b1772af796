import pytest

from bench.passwords import without_password


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        ("postgresql://me:s3@cr/t@host/db", "postgresql://me:***@host/db"),
        ("tracking.uri='http://me:secret@host:1'", "tracking.uri='http://me:***@host:1'"),
        ("https://secret@host/mlflow", "https://***@host/mlflow"),
        ("x://h/d?password=secret&a=1", "x://h/d?password=***&a=1"),
        ("x://h/d?a=1&SSLPassword=secret", "x://h/d?a=1&SSLPassword=***"),
        ("http://h/?access_token=secret", "http://h/?access_token=***"),
        ("Authorization: secret-token", "Authorization: ***"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://bench@host/d", "postgresql://bench@host/d"),
        ("data.root=a:b@c", "data.root=a:b@c"),
        (None, None),
    ],
)
def test_passwords_are_masked(monkeypatch, given, masked):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    assert without_password(given) == masked
