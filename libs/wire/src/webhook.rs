use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tidegate_model::limits;
use tidegate_proto::v1;
use url::Url;

use crate::{Violations, policies::span};

/// What a secret that signs begins with, as Standard Webhooks has it.
pub const SECRET_PREFIX: &str = "whsec_";
/// Headers that are the sender's, or are of the connection, which HTTP/2 refuses to send; as are those that begin with [`OWN_PREFIX`]; in small letters.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_PREFIX: &str = "webhook-";

/// Notes what is wrong with a webhook, without repeating what may be secret.
pub fn check_webhook(webhook: &v1::Webhook, violations: &mut Violations) {
    if let Err(fault) = check_url(&webhook.url) {
        violations.add("webhook.url", fault);
    }
    check_headers(webhook, violations);
    if !webhook.signing_secret.is_empty() && signing_key(&webhook.signing_secret).is_none() {
        let (least, most) = (*limits::WEBHOOK_SECRET_SIZES.start(), *limits::WEBHOOK_SECRET_SIZES.end());
        violations.add(
            "webhook.signing_secret",
            format!("is none: `{SECRET_PREFIX}` and {least} to {most} bytes in base64 are"),
        );
    }
    let bounds = (limits::MIN_WEBHOOK_TIMEOUT, limits::MAX_WEBHOOK_TIMEOUT);
    span(&webhook.timeout, "webhook.timeout", bounds, violations);
}

/// The key of a secret that signs webhooks. `None`: it is no such secret.
pub fn signing_key(secret: &str) -> Option<Vec<u8>> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    limits::WEBHOOK_SECRET_SIZES.contains(&key.len()).then_some(key)
}

fn check_url(url: &str) -> Result<(), String> {
    let (size, most) = (url.len(), limits::MAX_WEBHOOK_URL_SIZE);
    if url.is_empty() {
        return Err("is empty: name the address that is told, such as `https://example.com/hook`".to_owned());
    }
    if size > most {
        return Err(format!("has {size} bytes; at most {most} are allowed"));
    }
    // Parsers mend such texts, and not all of them alike.
    if url.contains(|char: char| char.is_whitespace() || char.is_control() || char == '\\') {
        return Err("has blanks, control characters or backslashes: write them as `%20`, say".to_owned());
    }
    let Some(rest) = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err("begins neither with `https://` nor with `http://`".to_owned());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("has no host".to_owned());
    }
    if authority.contains('@') {
        // Everybody who sees the automation sees its URL.
        return Err("has a user or a password: send them in the header `Authorization`".to_owned());
    }
    if rest.contains('#') {
        return Err("has a fragment (`#…`), which is never sent: leave it out".to_owned());
    }
    // Its errors are fixed sentences.
    Url::parse(url).map(|_| ()).map_err(|error| format!("is no URL: {error}"))
}

fn check_headers(webhook: &v1::Webhook, violations: &mut Violations) {
    violations.count("webhook.headers", webhook.headers.len(), limits::MAX_WEBHOOK_HEADERS);
    let mut names = BTreeSet::new();
    for (name, value) in &webhook.headers {
        let (size, most) = (name.len(), limits::MAX_WEBHOOK_HEADER_NAME_SIZE);
        if size > most {
            violations
                .add("webhook.headers", format!("a name has {size} bytes; 1 to {most} bytes are allowed"));
            continue;
        }
        if let Some(at) = name.find(|char: char| !is_token(char)) {
            // What follows may be a value that came to the wrong place.
            let beginning = &name[..at];
            let allowed = "letters, digits and !#$%&'*+-.^_`|~ are allowed";
            violations
                .add("webhook.headers", format!("a name that begins with `{beginning}` is none: {allowed}"));
            continue;
        }
        if name.is_empty() {
            violations.add("webhook.headers", "a name is empty");
            continue;
        }
        let field = format!("webhook.headers[{name}]");
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with(OWN_PREFIX) {
            violations.add(&field, "is a header that the server itself sends: leave it out");
        }
        if !names.insert(lower) {
            violations.add(&field, "is named twice: large and small letters are the same here");
        }
        let (size, most) = (value.len(), limits::MAX_WEBHOOK_HEADER_VALUE_SIZE);
        if value.is_empty() {
            violations.add(&field, "has no value: those of before are not given back, so give it anew");
        } else if size > most {
            violations.add(&field, format!("has {size} bytes; at most {most} are allowed"));
        } else if !is_value(value) {
            violations.add(
                &field,
                "has other characters than visible ones of ASCII, or blanks at its beginning or end",
            );
        }
    }
}

/// A character of a token, as RFC 9110 has it.
fn is_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}

fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim_matches(' ') == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_somewhere_and_has_no_secrets() {
        for url in [
            "https://example.com",
            "http://127.0.0.1:8080/hook?key=@x",
            "https://[::1]:8443/a%20b",
            "https://bücher.example/",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for (url, told) in [
            ("", "is empty"),
            ("example.com/hook", "begins neither"),
            ("ftp://example.com", "begins neither"),
            ("https:example.com", "begins neither"),
            ("https://", "has no host"),
            ("https:///hook", "has no host"),
            ("https://:8443/hook", "is no URL: empty host"),
            ("https://example.com:port/", "is no URL: invalid port"),
            ("https://ada:hunter2@example.com", "a user or a password"),
            ("https://hunter2@example.com/a@b", "a user or a password"),
            ("https://example.com/a#hunter2", "a fragment"),
            ("https://example.com/a b", "blanks"),
            ("https://example.com\\@hunter2", "backslashes"),
            ("https://example.com/\n", "control characters"),
        ] {
            let fault = check_url(url).expect_err(url);
            assert!(fault.contains(told) && !fault.contains("hunter2"), "{url}: {fault}");
        }
        let long = |size: usize| format!("https://example.com/{}", "x".repeat(size - 20));
        assert_eq!(check_url(&long(2_048)), Ok(()));
        assert!(check_url(&long(2_049)).expect_err("is too long").contains("at most 2048"));
    }

    #[test]
    fn a_secret_is_as_standard_webhooks_has_it() {
        let key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("is one");
        assert_eq!((key.len(), key[0], key[23]), (24, 0x31, 0xb0));
        let zeros = |n_bytes: usize| {
            let pads = ["", "==", "="][n_bytes % 3];
            format!("whsec_{}{pads}", "A".repeat((n_bytes * 4).div_ceil(3)))
        };
        for n_bytes in [24, 25, 26, 64] {
            assert_eq!(signing_key(&zeros(n_bytes)), Some(vec![0; n_bytes]), "{n_bytes}");
        }
        for secret in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa_-",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwA===",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2L=LaSwAAAA",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAB==",
            &zeros(23),
            &zeros(65),
        ] {
            assert_eq!(signing_key(secret), None, "{secret}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_header_is_told_without_its_value() {
        let faults = |name: &str, value: &str| {
            let headers = [(name.to_owned(), value.to_owned())].into();
            let webhook = v1::Webhook { url: "https://a.example".to_owned(), headers, ..Default::default() };
            let mut violations = Violations::default();
            check_webhook(&webhook, &mut violations);
            violations.into_vec()
        };
        for (name, value) in [("Authorization", "Bearer a~b"), ("X-1", "v"), ("webhooks", "v")] {
            assert!(faults(name, value).is_empty(), "{name}");
        }
        for (name, value, field, told) in [
            ("", "hunter2", "webhook.headers", "is empty"),
            ("Authorization: hunter2", "v", "webhook.headers", "begins with `Authorization` is none"),
            ("Größe", "hunter2", "webhook.headers", "begins with `Gr` is none"),
            ("HOST", "hunter2", "webhook.headers[HOST]", "the server itself"),
            ("Content-type", "hunter2", "webhook.headers[Content-type]", "the server itself"),
            ("Webhook-Id", "hunter2", "webhook.headers[Webhook-Id]", "the server itself"),
            ("X-A", "", "webhook.headers[X-A]", "has no value"),
            ("X-A", "hunter2\r\nX-B: c", "webhook.headers[X-A]", "other characters"),
            ("X-A", " hunter2", "webhook.headers[X-A]", "blanks"),
            ("X-A", "hunter2é", "webhook.headers[X-A]", "other characters"),
        ] {
            let found = faults(name, value);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!(found[0].field, field);
            let description = &found[0].description;
            assert!(description.contains(told) && !description.contains("hunter2"), "{description}");
        }
    }
}
