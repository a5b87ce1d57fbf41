"""The API, called without a network."""

import asyncio

import numpy as np
import pytest

from tenfold import data
from tenfold.serving import schemas
from tenfold.serving.api_errors import ERRORS
from tests.serving.conftest import Client, SlowClassifier, png

JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data"}
CUT_FORM = {"Content-Type": "multipart/form-data; boundary=a"}


def is_error(response, code):
    """Whether a response is this error, in the one shape that errors have."""
    found = response.json()
    assert found.keys() == {"status", "code", "message"}, found
    assert (response.status_code, found["code"]) == (found["status"], code), found
    assert found["message"].endswith(".")
    return ERRORS[code][0] == found["status"]


def test_stored_pixels_have_the_probabilities_of_the_classifier(make_client, box, digits):
    images = digits.images[:300]
    client = make_client()
    expected = box.predict_proba(images)
    as_json = {"images": images[:40].tolist()}
    for response, n in (
        (client.pixels(images), 300),
        (client.post("/v1/predict/pixels", json=as_json), 40),
    ):
        assert response.status_code == 200
        found = schemas.PixelsResponse.model_validate_json(response.content).digits
        probabilities = np.array([list(digit.probabilities.values()) for digit in found])
        np.testing.assert_allclose(probabilities, expected[:n], atol=2e-6)
        assert [int(digit.digit) for digit in found] == expected[:n].argmax(axis=1).tolist()
        assert [digit.decision for digit in found] == box.decision_rule.decide(expected[:n])


def test_pictures_are_read(make_client, digits):
    client = make_client()
    requests = [
        ("POST", "/v1/predict", {"content": png(image), "headers": PNG})
        for image in digits.images[:12]
    ]
    answers = client.together(requests)
    texts = [answer.json()["pictures"][0]["text"] for answer in answers]
    assert sum(map(str.__eq__, texts, digits.label_names()[:12])) >= 11
    schemas.PicturesResponse.model_validate_json(answers[0].content)


def test_the_pixels_that_the_network_saw_are_returned_on_demand(make_client, digits, box):
    client = make_client()
    answer = client.post("/v1/predict?pixels=true", content=png(digits.images[1]), headers=PNG)
    digit = answer.json()["pictures"][0]["digits"][0]
    seen = np.array(digit["pixels"], np.uint8)
    assert seen.shape == (28, 28)
    assert box.predict_proba(seen)[0].max() == pytest.approx(digit["confidence"], abs=1e-6)


def test_a_form_has_an_answer_for_each_picture_and_no_file_names(make_client, digits):
    files = [("a", ("secret.png", png(digits.images[0]), "image/png"))]
    files += [
        ("b", ("other.png", b"no picture", "image/png")),
        ("c", ("x.png", png(digits.images[2]))),
    ]
    answer = make_client().post("/v1/predict", files=files)
    assert answer.status_code == 200
    first, second, third = schemas.PicturesResponse.model_validate_json(answer.content).pictures
    assert [first.text, third.text] == [digits.label_names()[0], digits.label_names()[2]]
    assert second.error.code == "unreadable_picture"
    assert "secret" not in answer.text


def test_a_blank_page_has_no_ink(make_client):
    answer = make_client().post(
        "/v1/predict", content=png(np.zeros((28, 28), np.uint8)), headers=PNG
    )
    assert answer.json()["pictures"] == [{"text": "", "ink": False, "digits": [], "notes": []}]


ROWS = [[0] * 28] * 28


@pytest.mark.parametrize(
    ("method", "path", "named", "code"),
    [
        ("GET", "/nothing", {}, "not_found"),
        ("GET", "/../../etc/passwd", {}, "not_found"),
        ("GET", "/%2e%2e%2fapp.py", {}, "not_found"),
        ("GET", "/v1/predict", {}, "method_not_allowed"),
        ("POST", "/v1/predict", {"content": b"x"}, "unsupported_type"),
        ("POST", "/v1/predict", {"content": b"x", "headers": JSON}, "unsupported_type"),
        ("POST", "/v1/predict", {"content": b"x", "headers": PNG}, "unreadable_picture"),
        ("POST", "/v1/predict", {"content": b"", "headers": PNG}, "unreadable_picture"),
        ("POST", "/v1/predict", {"data": {"a": "1"}}, "unsupported_type"),
        ("POST", "/v1/predict", {"content": b"x", "headers": FORM}, "malformed"),
        ("POST", "/v1/predict", {"content": b"x", "headers": CUT_FORM}, "malformed"),
        ("POST", "/v1/predict", {"files": [("a", b"x")] * 17}, "malformed"),
        ("POST", "/v1/predict", {"content": b"0" * 20_000_001, "headers": PNG}, "too_large"),
        ("POST", "/v1/predict/pixels", {"content": b"x" * 784}, "unsupported_type"),
        ("POST", "/v1/predict/pixels", {"content": b"{", "headers": JSON}, "malformed"),
        ("POST", "/v1/predict/pixels", {"json": {"images": []}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [[[1, 2], [3]]]}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [[[256] * 28] * 28]}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [[["1"] * 28] * 28]}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [[[True] * 28] * 28]}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [[[10**400] * 28] * 28]}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": {"images": [ROWS], "more": 1}}, "invalid"),
        ("POST", "/v1/predict/pixels", {"json": [1]}, "invalid"),
        ("POST", "/v1/predict/pixels", {"content": b"[" * 100_000, "headers": JSON}, "malformed"),
        ("POST", "/v1/feedback", {"json": {"pixels": ROWS, "label": "3"}}, "not_found"),
    ],
)  # fmt: skip
def test_every_mistake_has_its_error(make_client, method, path, named, code):
    response = make_client().request(method, path, **named)
    assert is_error(response, code)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("length", [0, 783, 785, 784 * 1025])
def test_bytes_that_are_not_whole_images_or_too_many_are_refused(make_client, length):
    response = make_client().pixels(np.zeros(length, np.uint8))
    assert is_error(response, "too_large" if length > 784 * 1024 else "invalid")


def test_a_large_body_is_refused_before_it_is_read(make_client):
    async def body():
        raise AssertionError("it was read")
        yield b""

    headers = {"Content-Type": "image/png", "Content-Length": "1000000000"}
    assert is_error(make_client().post("/v1/predict", content=body(), headers=headers), "too_large")


def test_a_large_body_of_unknown_length_is_refused_as_it_grows(make_client):
    sent = 0

    async def body():
        nonlocal sent
        for _ in range(100):
            sent += 1_000_000
            yield bytes(1_000_000)

    response = make_client().post("/v1/predict", content=body(), headers=PNG)
    assert is_error(response, "too_large")
    assert sent < 25_000_000


def test_a_slow_body_and_too_many_large_ones_are_refused(make_client, digits):
    async def slow():
        yield b"\x89PNG"
        await asyncio.sleep(5)
        yield b""

    client = make_client(body_timeout_s=0.05, max_held_bytes=500_000)
    assert is_error(client.post("/v1/predict", content=slow(), headers=PNG), "too_slow")
    assert is_error(client.post("/v1/predict", content=bytes(700_000), headers=PNG), "overloaded")
    assert client.pixels(digits.images[:1]).status_code == 200


def test_what_takes_too_long_is_given_up(make_client, digits):
    client = make_client(SlowClassifier(0.5), deadline_s=0.05)
    assert is_error(client.pixels(digits.images[:1]), "deadline")


def test_past_its_queue_the_server_says_when_to_come_back(make_client, digits):
    client = make_client(SlowClassifier(0.05), max_queue_images=64)
    headers = {"Content-Type": "application/octet-stream"}
    call = {"content": digits.images[:32].tobytes(), "headers": headers}
    responses = client.together([("POST", "/v1/predict/pixels", call)] * 12)
    refused = [each for each in responses if each.status_code != 200]
    assert 0 < len(refused) < 12
    assert all(is_error(each, "overloaded") for each in refused)
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)


def test_only_so_many_requests_are_answered_at_once(make_client, digits):
    client = make_client(SlowClassifier(0.05), max_requests=3)
    headers = {"Content-Type": "application/octet-stream"}
    call = {"content": digits.images[0].tobytes(), "headers": headers}
    responses = client.together([("POST", "/v1/predict/pixels", call)] * 8)
    assert sorted(each.status_code for each in responses) == [200] * 3 + [503] * 5
    assert client.get("/readyz").status_code == 200


def test_past_its_queue_pictures_are_refused(make_client, digits):
    client = make_client(SlowClassifier(0.05), max_queue_pictures=2)
    call = {"content": png(digits.images[0]), "headers": PNG}
    responses = client.together([("POST", "/v1/predict", call)] * 6)
    codes = sorted(each.status_code for each in responses)
    assert codes == [200] * 2 + [503] * 4


def test_clients_may_make_so_many_requests(make_client, digits):
    client = make_client(rate=2)
    found = [client.pixels(digits.images[:1]) for _ in range(5)]
    assert [each.status_code for each in found] == [200] * 4 + [429]
    assert is_error(found[-1], "too_many_requests")
    assert int(found[-1].headers["retry-after"]) >= 1
    assert client.get("/healthz").status_code == 200


def test_a_token_is_asked_for(make_client, digits):
    client = make_client(host="0.0.0.0", token="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
        response = client.pixels(digits.images[:1], headers=headers)
        assert is_error(response, "token_required")
        assert response.headers["www-authenticate"] == "Bearer"
        assert is_error(client.get("/metrics", headers=headers), "token_required")
    for headers in ({"Authorization": "Bearer s3cret"}, {"Cookie": "a=b; tenfold_token=s3cret"}):
        assert client.pixels(digits.images[:1], headers=headers).status_code == 200
    assert [client.get(path).status_code for path in ("/", "/healthz", "/readyz")] == [200] * 3


def test_the_printed_link_turns_the_token_into_a_cookie(make_client):
    client = make_client(host="0.0.0.0", token="s3cret")
    response = client.get("/?token=s3cret")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert response.headers["set-cookie"].startswith("tenfold_token=s3cret; HttpOnly;")
    assert "samesite=strict" in response.headers["set-cookie"].lower()
    assert "set-cookie" not in client.get("/?token=wrong").headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "digits.example.org"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "192.168.1.1"}, 421),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
    ],
)
def test_other_names_and_pages_of_other_sites_are_refused(make_client, headers, status):
    client = make_client(host_names=("digits.example.org",))
    assert client.get("/v1/model", headers=headers).status_code == status


def test_a_bug_is_logged_without_pictures_and_answered_without_details(make_client, digits, caplog):
    class BrokenClassifier(SlowClassifier):
        def predict_proba(self, images):
            if self.seconds:
                raise RuntimeError("boom")
            return super().predict_proba(images)

    response = make_client(BrokenClassifier(1)).pixels(digits.images[:1])
    assert is_error(response, "internal")
    assert "boom" not in response.text
    assert "a bug: POST /v1/predict/pixels" in caplog.text


def test_metrics_count(make_client, digits):
    client = make_client()
    client.pixels(digits.images[:100])
    client.get("/no/such/address")
    text = client.get("/metrics").text
    assert 'http_requests_total{method="POST",path="/v1/predict/pixels",status="200"} 1.0' in text
    assert 'http_requests_total{method="GET",path="other",status="404"} 1.0' in text
    assert "tenfold_digits_total 100.0" in text
    assert "tenfold_batch_images_sum 100.0" in text
    assert "tenfold_queue_images 0.0" in text
    assert 'http_request_duration_seconds_count{path="/v1/predict/pixels"} 1.0' in text


def test_corrected_digits_are_kept_for_training(make_client, digits, tmp_path):
    path = tmp_path / "more" / "corrected.csv"
    client = make_client(collect=path)
    assert client.get("/v1/model").json()["collects"]
    for image, label in zip(digits.images[:5], digits.label_names()[:5], strict=True):
        body = {"pixels": image.tolist(), "label": str(label)}
        assert client.post("/v1/feedback", json=body).json() == {"kept": True}
    for wrong in ({"pixels": ROWS, "label": "x"}, {"pixels": ROWS[1:], "label": "1"}, {}):
        assert is_error(client.post("/v1/feedback", json=wrong), "invalid")
    make_client(collect=path)  # a server that is started again goes on
    found = data.read(path, labels=True)
    np.testing.assert_array_equal(found.images, digits.images[:5])
    assert found.label_names().tolist() == digits.label_names()[:5].tolist()


def test_feedback_goes_into_no_other_table(make_client, tmp_path):
    from tenfold.errors import OutputError

    for content in ("a,b\n1,2\n", "label,pixel0"):
        (tmp_path / "other.csv").write_text(content)
        with pytest.raises(OutputError, match="another table"):
            make_client(collect=tmp_path / "other.csv")
        assert (tmp_path / "other.csv").read_text() == content


def test_the_model_describes_itself(make_client):
    found = make_client().get("/v1/model").json()
    schemas.ModelResponse.model_validate(found)
    assert found["card"]["recipe"] == "robust"
    assert found["decision_rule"]["sure_threshold"] > 0.5


def test_the_document_describes_every_address_with_examples_that_hold(make_client):
    client = make_client()
    document = client.get("/openapi.json").json()
    models = {
        "/v1/predict": schemas.PicturesResponse,
        "/v1/predict/pixels": schemas.PixelsResponse,
        "/v1/feedback": schemas.FeedbackResponse,
        "/v1/model": schemas.ModelResponse,
        "/healthz": schemas.StatusResponse,
        "/readyz": schemas.StatusResponse,
    }
    assert document["paths"].keys() == {*models, "/metrics"}
    for path, model in models.items():
        (operation,) = document["paths"][path].values()
        model.model_validate(
            operation["responses"]["200"]["content"]["application/json"]["example"]
        )
        for status, response in operation["responses"].items():
            for each in (
                response["content"].get("application/json", {}).get("examples", {}).values()
            ):
                assert schemas.ErrorResponse.model_validate(each["value"]).status == int(status)
    body = document["paths"]["/v1/predict/pixels"]["post"]["requestBody"]["content"]
    response = client.post("/v1/predict/pixels", json=body["application/json"]["example"])
    assert response.status_code == 200


def test_many_clients_share_batches(make_client, digits, box):
    client: Client = make_client()
    headers = {"Content-Type": "application/octet-stream"}
    requests = [
        ("POST", "/v1/predict/pixels", {"content": image.tobytes(), "headers": headers})
        for image in digits.images[:100]
    ]
    found = [answer.json()["digits"][0]["digit"] for answer in client.together(requests)]
    expected = box.predict(digits.images[:100])
    assert [int(each) for each in found] == expected.tolist()
    counts = dict(
        line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#"
    )
    assert float(counts["tenfold_batch_images_sum"]) == 100
    assert float(counts["tenfold_batch_images_count"]) < 50


def test_an_unfinished_request_is_none(make_client, digits):
    """A client that goes away is no bug and no answer."""
    app = make_client().app
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"image/png"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}
    scope |= {"query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http"}
    asyncio.run(app(scope, receive, send))
    assert sent == []
    text = Client(app).get("/metrics").text
    assert 'status="499"' in text
