use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::{
    Response,
    header::{HeaderMap, RETRY_AFTER},
};
use tidegate_model::Timestamp;

/// Bytes of an answer that are read.
const MAX_READ: usize = 64 << 10;
/// Bytes of its text that are told.
const MAX_TOLD: usize = 512;
/// What stands in the place of a secret.
const MASK: &str = "********";
/// Words of header values with fewer bytes are not hidden: they are in any text, and give nothing away.
const MIN_HIDDEN: usize = 6;

/// How long the server wants to be left alone: in seconds, or until a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_micros(until.as_microsecond()).since(now))
}

/// The beginning of what the server says, in one line, without what has been sent to it in headers: pages about errors
/// like to repeat those. Where it breaks off, what has come by then.
pub(crate) async fn text_of<'a>(
    mut response: Response,
    header_values: impl Iterator<Item = &'a str>,
) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_READ
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_READ - bytes.len())]);
    }
    shown(&String::from_utf8_lossy(&bytes), header_values)
}

fn shown<'a>(text: &str, header_values: impl Iterator<Item = &'a str>) -> String {
    let mut hidden: Vec<&str> = header_values
        .flat_map(|value| std::iter::once(value).chain(value.split_whitespace()))
        .filter(|word| word.len() >= MIN_HIDDEN)
        .collect();
    // A whole value before a word of it.
    hidden.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    let text = hidden.into_iter().fold(text.to_owned(), |text, word| text.replace(word, MASK));
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let mut line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(MAX_TOLD));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_in_seconds_or_by_a_date_how_long_it_wants_to_be_left_alone() {
        let now = Timestamp::from_micros(784_111_777_000_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(asked(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_text_is_one_short_line_without_secrets() {
        let values = ["Bearer hunter2-hunter2", "eu"];
        for (text, expected) in [
            ("", ""),
            ("  no\r\n\tpaper\0 ", "no paper"),
            ("you sent Bearer hunter2-hunter2 from eu", "you sent ******** from eu"),
            ("the token hunter2-hunter2 is wrong", "the token ******** is wrong"),
        ] {
            assert_eq!(shown(text, values.into_iter()), expected, "{text}");
        }
        assert_eq!(shown(&"é".repeat(1_000), values.into_iter()).len(), MAX_TOLD);
        assert_eq!(shown(&format!("x{}", "é".repeat(1_000)), values.into_iter()).len(), MAX_TOLD - 1);
    }
}
