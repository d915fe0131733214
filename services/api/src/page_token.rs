use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use tidegate_model::{RunId, Timestamp};
use tidegate_store::{Position, Value};
use tidegate_wire::invalid_field;
use tonic::Status;
use uuid::Uuid;

/// Where a page of a list ends, and of which list it is. Opaque to callers: hexadecimal digits of
/// `version, hash of namespace and filter, hash of the order, now, id, tag of the value, value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PageToken {
    /// What the filter counted from on the first page.
    pub now: Timestamp,
    pub position: Position,
}

/// What must be the same on all pages of a list.
pub(crate) struct ListOf<'a> {
    pub namespace: &'a str,
    pub filter: &'a str,
    pub order_by: &'a str,
}

const VERSION: u8 = 1;
/// Of a list that is ordered by a key and has a filter.
const VERSION_FILTERED: u8 = 2;
const HASH_SIZE: usize = 8;
const HEAD_SIZE: usize = 1 + 2 * HASH_SIZE + 8 + 16 + 1;

impl PageToken {
    /// The text of it for this list.
    pub fn encode(&self, list: &ListOf<'_>) -> String {
        let mut bytes = Vec::with_capacity(HEAD_SIZE + 8);
        bytes.push(VERSION);
        bytes.extend(hash(&[list.namespace, list.filter]));
        bytes.extend(hash(&[list.order_by]));
        bytes.extend(self.now.as_micros().to_be_bytes());
        bytes.extend(self.position.id.as_uuid().as_bytes());
        match &self.position.value {
            Some(Value::Number(number)) => push_value(&mut bytes, b'n', &number.to_be_bytes()),
            Some(Value::Time(time)) => push_value(&mut bytes, b't', &time.as_micros().to_be_bytes()),
            Some(Value::Text(text)) => push_value(&mut bytes, b's', text.as_bytes()),
            // Nothing else is ordered by.
            _ => push_value(&mut bytes, b'-', &[]),
        }
        hex(&bytes)
    }

    /// Reads what `encode` gave for the same list.
    pub fn decode(token: &str, list: &ListOf<'_>) -> Result<Self, Status> {
        let bytes = unhex(token).filter(|bytes| bytes.len() >= HEAD_SIZE && bytes[0] == VERSION);
        let bytes = bytes.ok_or_else(|| invalid_token(token))?;
        let (of_filter, rest) = bytes[1..].split_at(HASH_SIZE);
        let (of_order, rest) = rest.split_at(HASH_SIZE);
        if of_filter != hash(&[list.namespace, list.filter]) {
            return Err(foreign_token("namespace and filter"));
        }
        if of_order != hash(&[list.order_by]) {
            return Err(foreign_token("order_by"));
        }
        Self::read(rest).ok_or_else(|| invalid_token(token))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (now, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (tag, value) = rest.split_first()?;
        let value = match tag {
            b'n' => Some(Value::Number(i64::from_be_bytes(value.try_into().ok()?))),
            b't' => Some(Value::Time(Timestamp::from_micros(i64::from_be_bytes(value.try_into().ok()?)))),
            b's' => Some(Value::Text(String::from_utf8(value.to_vec()).ok()?)),
            b'-' => None,
            _ => return None,
        };
        let id = RunId::from_uuid(Uuid::from_bytes(*id));
        Some(Self { now: Timestamp::from_micros(i64::from_be_bytes(*now)), position: Position { value, id } })
    }
}

/// What the page before ended with, of a list that is ordered by what its token says as it is: a name, a number, an id.
/// `None`: it is the first page.
pub(crate) fn read_plain<T: FromStr>(token: &str) -> Result<Option<T>, Status> {
    match token {
        "" => Ok(None),
        token => token.parse().map(Some).map_err(|_| invalid_token(token)),
    }
}

/// The token of the page after the one that ends with `key`, of a list with a filter: that must be the same, and counts from the
/// same moment.
pub(crate) fn filtered(list: &ListOf<'_>, now: Timestamp, key: &str) -> String {
    let mut bytes = vec![VERSION_FILTERED];
    bytes.extend(hash(&[list.namespace, list.order_by, list.filter]));
    bytes.extend(now.as_micros().to_be_bytes());
    bytes.extend(key.as_bytes());
    hex(&bytes)
}

/// What `filtered` was given for the same list.
pub(crate) fn read_filtered(token: &str, list: &ListOf<'_>) -> Result<(Timestamp, String), Status> {
    let read = || {
        let bytes = unhex(token)?;
        let rest = bytes.strip_prefix(&[VERSION_FILTERED])?;
        let (of_list, rest) = rest.split_first_chunk::<HASH_SIZE>()?;
        let (now, key) = rest.split_first_chunk()?;
        let now = Timestamp::from_micros(i64::from_be_bytes(*now));
        Some((*of_list, now, String::from_utf8(key.to_vec()).ok()?))
    };
    let (of_list, now, key) = read().ok_or_else(|| invalid_token(token))?;
    if of_list != hash(&[list.namespace, list.order_by, list.filter]) {
        return Err(foreign_token("namespace and filter"));
    }
    Ok((now, key))
}

/// The token of the page after this one, which `name` reads of the last item; empty: there is none.
pub(crate) fn plain<T>(page: &[T], page_size: usize, name: impl FnOnce(&T) -> String) -> String {
    let may_go_on = page.len() == page_size;
    page.last().filter(|_| may_go_on).map(name).unwrap_or_default()
}

/// INVALID_ARGUMENT for a token that no page gave.
pub(crate) fn invalid_token(token: &str) -> Status {
    let shown: String = token.chars().take(80).collect();
    invalid_field(
        "page_token",
        format!("`{shown}` is no next_page_token of this call: leave it empty to begin anew"),
    )
}

fn foreign_token(field: &str) -> Status {
    invalid_field(
        "page_token",
        format!(
            "belongs to a list with another {field}: repeat what the first page asked, or leave it empty to begin anew"
        ),
    )
}

fn push_value(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(value);
}

fn hash(parts: &[&str]) -> [u8; HASH_SIZE] {
    let mut hasher = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts are one text.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hash = [0; HASH_SIZE];
    hash.copy_from_slice(&hasher.finalize()[..HASH_SIZE]);
    hash
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes all
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: ListOf<'_> = ListOf { namespace: "default", filter: "state = FAILED", order_by: "name" };

    fn token(value: Option<Value>) -> PageToken {
        PageToken { now: Timestamp::from_micros(-7), position: Position { value, id: RunId::new() } }
    }

    #[test]
    fn a_token_survives() {
        for value in [
            None,
            Some(Value::Number(-3)),
            Some(Value::Time(Timestamp::from_micros(1_790_000_000_000_000))),
            Some(Value::Text("Überlauf".to_owned())),
        ] {
            let token = token(value);
            assert_eq!(PageToken::decode(&token.encode(&LIST), &LIST).expect("is one"), token);
        }
    }

    #[test]
    fn a_token_of_another_list_is_refused_and_told() {
        let token = token(None).encode(&LIST);
        for (list, told) in [
            (ListOf { filter: "state = CRASHED", ..LIST }, "another namespace and filter"),
            (ListOf { namespace: "b", ..LIST }, "another namespace and filter"),
            (ListOf { order_by: "name desc", ..LIST }, "another order_by"),
        ] {
            let refused = PageToken::decode(&token, &list).expect_err("is refused");
            assert!(refused.message().contains(told), "{}", refused.message());
        }
    }

    #[test]
    fn a_token_of_a_filtered_list_is_of_that_alone() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let token = filtered(&LIST, now, "etl/nightly/ä");
        assert_eq!(read_filtered(&token, &LIST).expect("is one"), (now, "etl/nightly/ä".to_owned()));
        for other in [
            ListOf { filter: "", ..LIST },
            ListOf { namespace: "b", ..LIST },
            ListOf { order_by: "x", ..LIST },
        ] {
            let refused = read_filtered(&token, &other).expect_err("is refused");
            assert!(refused.message().contains("another namespace and filter"), "{}", refused.message());
        }
        for wrong in ["", "etl/nightly/s", "02", &token[..20]] {
            let refused = read_filtered(wrong, &LIST).expect_err("is none");
            assert!(refused.message().contains("no next_page_token"), "{}", refused.message());
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let whole = token(Some(Value::Number(1))).encode(&LIST);
        let other_tag = whole.replace("6e0000000000000001", "7a0000000000000001");
        assert_ne!(whole, other_tag);
        for token in ["x", "01", "é0", &whole[..whole.len() - 1], &whole[..whole.len() - 2], &other_tag] {
            let refused = PageToken::decode(token, &LIST).expect_err("is refused");
            assert!(refused.message().contains("no next_page_token"), "{}", refused.message());
        }
    }
}
