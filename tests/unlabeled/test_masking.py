import time

import pytest

from unlabeled.errors import ConfigError, UnlabeledError
from unlabeled.masking import masked

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text, hidden",
    [
        (
            f"see to postgresql://mlflow:{SECRET}@db.internal/mlflow.",
            "see to postgresql://mlflow:***@db.internal/mlflow.",
        ),
        (f"http://:{SECRET}@proxy:3128", "http://:***@proxy:3128"),
        (f"mysql+pymysql://u:{SECRET}@x/{SECRET}@h/db", "mysql+pymysql://u:***@h/db"),
        (f"'https://u:{SECRET}@a/x', 'https://v:{SECRET}@b/y'", "'https://u:***@a/x', 'https://v:***@b/y'"),
        (f"https://{SECRET}@github.com/o/r", "https://***@github.com/o/r"),
        (f"https://me@example.org:{SECRET}@host", "https://***@host"),
        (
            f"https://b.blob.core.windows.net/c?sv=1&sig={SECRET}&se=2",
            "https://b.blob.core.windows.net/c?sv=1&sig=***&se=2",
        ),
        (
            f"s3://b/k?X-Amz-Signature={SECRET}&X-Amz-Security-Token={SECRET}",
            "s3://b/k?X-Amz-Signature=***&X-Amz-Security-Token=***",
        ),
        (f"postgresql://host/db?user=u&password={SECRET}", "postgresql://host/db?user=u&password=***"),
        (f"host=db user=u password={SECRET} dbname=d", "host=db user=u password=*** dbname=d"),
        (f"Server=db;Password={SECRET};Pwd={SECRET}", "Server=db;Password=***;Pwd=***"),
    ],
)
def test_what_opens_an_address_is_hidden_and_the_rest_stays(text, hidden):
    assert masked(text) == hidden
    assert masked(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/models/unlabeled-digits@champion",
        "ssh://git@github.com/o/r",
        "git@github.com:o/r",
        "sqlite:////home/me@work/mlflow.db",
        "s3://bucket/folder/a@b.png",
        "https://example.org/?page=2&design=blue&token_count",
        "models:/unlabeled-digits@champion",
        "mail me@example.org about https://example.org/",
        "expected block.key=value, one of knn_k=20, tokens=5",
    ],
)
def test_what_opens_nothing_stays_as_it_is(text):
    assert masked(text) == text


@pytest.mark.parametrize("kind", [UnlabeledError, ConfigError])
def test_no_error_of_ours_holds_a_password(kind):
    assert str(kind(f"http://u:{SECRET}@host does not answer")) == "http://u:***@host does not answer"


@pytest.mark.parametrize("piece", ["a.", "x://", "?token", ";a-", "password"])
def test_a_long_text_takes_no_longer_than_its_length(piece):
    began = time.monotonic()
    masked(piece * 50_000)
    assert time.monotonic() - began < 5
