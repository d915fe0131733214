//! Messages on their way to a server that answers in the ways that servers do.
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tidegate_model::Timestamp;
use tidegate_testkit::WebServer;
use tidegate_webhook::{Allowed, Client, Failure, Message};

const BODY: &[u8] = br#"{"test": 2432232314}"#;
/// The key of the example in the specification.
const KEY: [u8; 24] = [
    0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6,
    0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0,
];
const TIMEOUT: Duration = Duration::from_secs(20);

fn anywhere() -> Allowed {
    Allowed { private_addresses: true, http: true, hosts: Vec::new() }
}

/// That of the example, but for where it goes.
fn message<'a>(url: &'a str, headers: &'a BTreeMap<String, String>) -> Message<'a> {
    Message {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at: Timestamp::from_micros(1_614_265_330_999_999),
        url,
        headers,
        signing_key: Some(&KEY),
        timeout: TIMEOUT,
        body: Bytes::from_static(BODY),
    }
}

/// Sends it there without further headers.
async fn send(allowed: Allowed, url: &str) -> Result<(), Failure> {
    Client::new(allowed).unwrap().send(message(url, &BTreeMap::new())).await
}

#[tokio::test]
async fn a_message_comes_as_standard_webhooks_has_it() {
    let server = WebServer::start().await;
    let further = [("Authorization", "Bearer abc"), ("webhook-id", "another"), ("content-type", "text/html")];
    let further = further.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let client = Client::new(anywhere()).unwrap();
    client.send(message(&server.url("/hook?key=1"), &further)).await.unwrap();
    let seen = server.seen();
    let [request] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((request.target.as_str(), &request.body[..]), ("POST /hook?key=1", BODY));
    for (name, value) in [
        ("authorization", "Bearer abc"),
        ("content-type", "application/json"),
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ] {
        assert_eq!(request.headers[name], value, "{name}");
    }
    assert!(request.headers["user-agent"].starts_with("tidegate/"), "{:?}", request.headers);
}

#[tokio::test]
async fn a_message_without_a_key_is_not_signed() {
    let server = WebServer::start().await;
    server.answer("204 No Content", "");
    let (url, none) = (server.url("/"), BTreeMap::new());
    let unsigned = Message { signing_key: None, ..message(&url, &none) };
    Client::new(anywhere()).unwrap().send(unsigned).await.unwrap();
    assert!(!server.seen()[0].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn an_answer_says_what_was_wrong_and_whether_to_come_again() {
    let server = WebServer::start().await;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (head, passing, retry_after) in [
        ("404 Not Found", false, None),
        ("410 Gone", false, None),
        ("408 Request Timeout", true, None),
        ("429 Too Many Requests\r\nRetry-After: 7", true, seconds(7)),
        ("503 Service Unavailable\r\nRetry-After: Thu, 25 Feb 2021 15:03:10 GMT", true, None),
        ("500 Internal Server Error", true, None),
    ] {
        server.answer(head, "out of\n paper");
        let failure = send(anywhere(), &server.url("/?key=hunter2")).await.unwrap_err();
        let status = head.lines().next().unwrap();
        assert_eq!(failure.to_string(), format!("the server answered {status}: out of paper"));
        assert_eq!(failure.is_passing(), passing, "{head}");
        match retry_after {
            Some(_) => assert_eq!(failure.retry_after(), retry_after, "{head}"),
            // A minute after the message was sent, but for the part of a second that dates do not have.
            None if head.contains("Retry-After") => {
                let asked = failure.retry_after().unwrap();
                assert!(asked > Duration::from_secs(58) && asked <= Duration::from_secs(60), "{asked:?}");
            }
            None => assert_eq!(failure.retry_after(), None, "{head}"),
        }
    }
}

#[tokio::test]
async fn a_long_answer_is_cut_and_repeats_no_secret() {
    let server = WebServer::start().await;
    let page = format!("you sent Bearer hunter2-hunter2 {}", "x".repeat(200 << 10));
    server.answer("400 Bad Request", &page);
    let headers = [("Authorization".to_owned(), "Bearer hunter2-hunter2".to_owned())].into();
    let failure =
        Client::new(anywhere()).unwrap().send(message(&server.url("/"), &headers)).await.unwrap_err();
    let Failure::Answered { text, .. } = &failure else { panic!("{failure:?}") };
    assert!(text.starts_with("you sent ******** xxx") && text.len() == 512, "{text}");
}

#[tokio::test]
async fn who_does_not_answer_in_time_may_later() {
    let server = WebServer::start().await;
    server.hold();
    let (url, none) = (server.url("/?key=hunter2"), BTreeMap::new());
    let hasty = Message { timeout: Duration::from_millis(200), ..message(&url, &none) };
    let failure = Client::new(anywhere()).unwrap().send(hasty).await.unwrap_err();
    assert_eq!(failure, Failure::Silent("no answer within 200ms".to_owned()));

    drop(server);
    let failure = send(anywhere(), &url).await.unwrap_err();
    assert!(failure.is_passing() && !failure.to_string().contains("hunter2"), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (server, other) = (WebServer::start().await, WebServer::start().await);
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        server.answer(&format!("{status}\r\nLocation: {}", other.url("/")), "");
        let failure = send(anywhere(), &server.url("/")).await.unwrap_err();
        let told = format!("the server answered {status}, and redirects are not followed");
        assert_eq!((failure.to_string(), failure.is_passing()), (told, false));
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_is_not_public() {
    let server = WebServer::start().await;
    let port = server.address().port();
    let public = || Allowed { http: true, ..Allowed::default() };
    for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST"] {
        let failure = send(public(), &format!("http://{host}:{port}/?key=hunter2")).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused(_)) && !failure.is_passing(), "{host}: {failure}");
        let told = failure.to_string();
        assert!(told.contains("public address") && !told.contains("hunter2"), "{host}: {told}");
    }
    assert!(server.seen().is_empty());
    // It was there all the while.
    send(anywhere(), &format!("http://localhost:{port}/")).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_over_plain_http_to_another_host_or_with_a_password() {
    let server = WebServer::start().await;
    let url = server.url("/");
    let private = Allowed { private_addresses: true, ..Allowed::default() };
    let elsewhere = Allowed { hosts: vec!["*.example.com".parse().unwrap()], ..anywhere() };
    let with_password = url.replace("//", "//ada:hunter2@");
    for (allowed, url, told) in [
        (private, url.as_str(), "plain HTTP is not allowed"),
        (elsewhere, url.as_str(), "the host 127.0.0.1 is none of those"),
        (anywhere(), with_password.as_str(), "a user or a password"),
        (anywhere(), "http://", "the URL is none"),
    ] {
        let failure = send(allowed, url).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(told) && !text.contains("hunter2"), "{text}");
        assert!(!failure.is_passing(), "{text}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let server = WebServer::start().await;
    let url = server.url("/hunter2?key=hunter2");
    let with_header = |value: &str| BTreeMap::from([("Authorization".to_owned(), value.to_owned())]);
    let (good, bad) = (with_header("Bearer hunter2"), with_header("Bearer\nhunter2"));
    let gone = {
        let gone = WebServer::start().await;
        gone.url("/hunter2?key=hunter2")
    };
    server.answer("400 Bad Request", "not you, Bearer hunter2");
    let public = Allowed { http: true, ..Allowed::default() };
    for (allowed, message) in [
        (anywhere(), message(&url, &good)),
        (anywhere(), message(&url, &bad)),
        (anywhere(), message(&gone, &good)),
        (public, message(&url, &good)),
        (anywhere(), Message { timeout: Duration::ZERO, ..message(&url, &good) }),
    ] {
        let client = Client::new(allowed).unwrap();
        let failure = client.send(message).await.unwrap_err();
        let told = format!("{failure} {failure:?} {client:?}");
        assert!(!told.contains("hunter2"), "{told}");
        for key in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[49, 242, 144"] {
            assert!(!told.contains(key), "{told}");
        }
    }
}
